//! Least kernels. A test that asks for more than the running kernel has is absent there, and says
//! so in a file that whoever runs the tests must read: nothing is left out silently.

use std::{env, fs::OpenOptions, io::Write as _, thread};

/// Names the file, to which a line is added for each absence: test, least kernel and reason,
/// between tabs.
const ABSENCES: &str = "TCP_TRACE_TEST_ABSENCES";

/// Whether the running kernel is `minimum` or later, which is the first with `what`. A test returns
/// at once where it is not.
///
/// # Panics
/// Where it is not, and nobody asked for a list of what is absent.
#[must_use]
pub(crate) fn kernel(minimum: (u32, u32), what: &str) -> bool {
    let release = release();
    if is_at_least(minimum) {
        return true;
    }
    let (major, minor) = minimum;
    let Some(path) = env::var_os(ABSENCES) else {
        panic!(
            "this test needs a kernel {major}.{minor}, for {what}, and this is {release}; name a \
             file for what is absent in {ABSENCES}, as `cargo xtask vm` does"
        );
    };
    let thread = thread::current();
    let test = thread.name().expect("a test runs in a thread of its name");
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{test}\t{major}.{minor}\t{what}").unwrap();
    false
}

/// Set where the whole machine is the tests' own: by the first process of the guests of `cargo xtask
/// vm`, and by nobody else.
const OWN_MACHINE: &str = "TCP_TRACE_TEST_OWN_MACHINE";
/// What only such a guest has.
const RUNS: &str = "/vm/runs";

/// Makes sure that a test which does something to the whole machine, `why`, runs on one of its own.
///
/// # Panics
/// Anywhere else; `cargo xtask test` leaves such tests out, and says so.
pub(crate) fn own_machine(why: &str) {
    let is_ours = env::var(OWN_MACHINE).is_ok_and(|value| value == "1");
    assert!(
        is_ours && std::path::Path::new(RUNS).is_file(),
        "this test needs a machine of its own, for {why}: `cargo xtask vm` has some"
    );
}

/// Whether the running kernel is `minimum` or later: for what kernels do in one way or another.
#[must_use]
pub(crate) fn is_at_least(minimum: (u32, u32)) -> bool {
    let release = release();
    let running = version(&release).unwrap_or_else(|| panic!("{release:?} is no kernel's release"));
    running >= minimum
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
