//! `cargo xtask bench`: everything in one run, kept in `benchmarks.json` and told in `BENCHMARKS.md`.
//!
//! | module | has |
//! |---|---|
//! | `part` | what there is to measure, each by the command that also measures it alone |
//! | `record` | what was measured |
//! | `daemon` | of that, what the daemon itself takes |
//! | `goals` | what was to be reached |
//! | `page` | all of it for people, and its place in `BENCHMARKS.md` |

mod daemon;
mod goals;
mod page;
mod part;
mod record;

use std::{fs, path::Path, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail};

use super::means::Means;
use crate::{checkout::Checkout, privilege};
use part::Part;
use record::Record;

/// What was measured.
const RECORD: &str = "benchmarks.json";
/// The same for people, with reasons.
const PAGE: &str = "BENCHMARKS.md";
/// Where one picture of it is.
const FIRST_PAGE: &str = "README.md";

/// How to measure it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Less of everything, for a look of about two minutes: no file is changed
    #[arg(long)]
    quick: bool,
    /// Measure these, and keep what is known of the others [default: cps,packets,engine,vm; with
    /// --quick cps,engine]
    #[arg(long, value_name = "PART", value_enum, value_delimiter = ',')]
    part: Vec<Part>,
    /// Write BENCHMARKS.md and the picture in README.md anew from benchmarks.json, and measure nothing
    #[arg(long, conflicts_with_all = ["quick", "part"])]
    render: bool,
    #[command(flatten)]
    means: Means,
}

/// Builds, measures part by part, writes, prints; fails if a part did, with all others done.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let checkout = Checkout::find()?;
    let mut record =
        if args.quick { Record::default() } else { Record::read(&checkout.root().join(RECORD))? };
    if args.render {
        write_page(&checkout, &record)?;
        return Ok(ExitCode::SUCCESS);
    }
    privilege::expect_a_way_to_root()?;
    let program = args.means.program()?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let (start, mut failed) = (Instant::now(), Vec::new());
    for part in parts(args) {
        let begun = Instant::now();
        let json = directory.path().join(part.word());
        let outcome = part.measure(&program, &json, args.quick);
        // Whoever lost events fails, and has figures all the same.
        if let Ok(text) = fs::read_to_string(&json) {
            record.put(part, &text)?;
        }
        let took = begun.elapsed().as_secs();
        match outcome {
            Ok(()) => println!("\n{}: done in {took} s", part.word()),
            Err(error) => {
                println!("\n{}: {error:#}", part.word());
                failed.push(part.word());
            }
        }
    }
    args.means.write(record.raw())?;
    if args.quick {
        print!("\n{}", page::text(&record)?);
    } else {
        record.write(&checkout.root().join(RECORD))?;
        write_page(&checkout, &record)?;
        print!("\n{}", goals::text(&record)?);
    }
    println!("\nmeasured in {:.1} minutes", start.elapsed().as_secs_f64() / 60.0);
    if !failed.is_empty() {
        bail!("not all is well with {}; its own words are above", failed.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn parts(args: &Args) -> Vec<Part> {
    match (&args.part[..], args.quick) {
        ([], true) => vec![Part::Cps, Part::Engine],
        ([], false) => vec![Part::Cps, Part::Packets, Part::Engine, Part::Vm],
        (chosen, _) => chosen.to_vec(),
    }
}

fn write_page(checkout: &Checkout, record: &Record) -> Result<()> {
    for (name, text) in [(PAGE, page::text(record)?), (FIRST_PAGE, page::picture(record)?)] {
        let page = page::renewed(&checkout.text(name)?, &text)?;
        write(&checkout.root().join(name), &page)?;
    }
    println!("\nwritten: {RECORD}, {PAGE}, the picture in {FIRST_PAGE}");
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_say_what_the_record_has() {
        let checkout = Checkout::own();
        let record = Record::read(&checkout.root().join(RECORD)).unwrap();
        let texts = [(PAGE, page::text(&record)), (FIRST_PAGE, page::picture(&record))];
        for (name, text) in texts {
            let page = checkout.text(name).unwrap();
            let renewed = page::renewed(&page, &text.unwrap()).unwrap();
            assert!(page == renewed, "{name} differs; run `cargo xtask bench --render`");
        }
    }
}
