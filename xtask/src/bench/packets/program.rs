//! Nanoseconds per packet, by the program itself: its hidden command `packet-costs`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::super::statistics::Spread;
use crate::{namespace::isolate, tool::words};

/// What one program needs for one kind of frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// The program.
    pub(super) program: String,
    /// What the frame is.
    pub(super) frame: String,
    /// Its version of IP.
    pub(super) ip: String,
    /// Nanoseconds.
    pub(super) ns: Spread,
}

/// One figure for each run, as the program has them.
#[derive(Deserialize)]
struct Runs {
    program: String,
    frame: String,
    ip: String,
    ns: Vec<f64>,
}

/// Runs every packet program, `repeat` times on each frame, in an empty network namespace.
pub(super) fn measure(program: &Path, repeat: u32) -> Result<Vec<Cost>> {
    let mut command = Command::new(program);
    command.args(["packet-costs", "--repeat", &repeat.to_string()]);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    isolate(&mut command);
    let words = words(&command);
    let output = command.output().with_context(|| format!("cannot start {words}"))?;
    if !output.status.success() {
        bail!("{words} failed ({}); its own words are above", output.status);
    }
    parse(&output.stdout).with_context(|| format!("{words} printed no figures"))
}

fn parse(json: &[u8]) -> Result<Vec<Cost>> {
    let runs: Vec<Runs> = serde_json::from_slice(json)?;
    let costs = runs.into_iter().map(|Runs { program, frame, ip, ns }| {
        let ns = Spread::of(ns).with_context(|| format!("{program} was never run"))?;
        Ok(Cost { program, frame, ip, ns })
    });
    costs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_all_runs_counts() {
        let json = br#"[{"program":"segments_in","frame":"data","ip":"v4","ns":[30,90,31]}]"#;
        let ns = Spread { median: 31.0, min: 30.0, max: 90.0 };
        let cost =
            Cost { program: "segments_in".into(), frame: "data".into(), ip: "v4".into(), ns };
        assert_eq!(parse(json).unwrap(), [cost]);
        assert!(parse(b"[{}]").is_err());
    }
}
