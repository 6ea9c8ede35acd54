//! The seed of the fuzz target is a record as it is sent now.

use std::{fs, path::Path};

use zerocopy::IntoBytes as _;

#[test]
fn the_fuzz_seed_is_a_folded_record() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/records/folded");
    // The last of the target's kinds, then what follows a record's kind and length.
    let mut seed = super::model::refused().as_bytes().to_vec();
    seed.drain(..4);
    seed.insert(0, 19);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &seed).unwrap();
    }
    assert!(fs::read(&path).unwrap() == seed, "write it anew: BLESS=1 cargo test fuzz_seed");
}
