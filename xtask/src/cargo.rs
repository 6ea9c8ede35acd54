//! cargo, started for one of its commands.

use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{checkout::Checkout, tool::words};

/// The package and the program that users run.
const PROGRAM: &str = "tcp-trace";

/// The cargo that started this program, in the tree's root.
pub(crate) fn cargo(checkout: &Checkout) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(checkout.root());
    cargo
}

/// How a program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quickly.
    Debug,
    /// For use.
    Release,
}

/// Builds tcp-trace and says where it is.
pub(crate) fn build(checkout: &Checkout, profile: Profile) -> Result<PathBuf> {
    let mut command = cargo(checkout);
    command.args(["build", "--package", PROGRAM, "--bin", PROGRAM]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let words = words(&command);
    let output = command.output().with_context(|| format!("cannot start {words}"))?;
    if !output.status.success() {
        bail!("{words} failed ({}); its own words are above", output.status);
    }
    executables(&String::from_utf8_lossy(&output.stdout))
        .remove(PROGRAM)
        .with_context(|| format!("{words} did not say where it put {PROGRAM}"))
}

/// One line of what cargo says; other lines have other fields.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Where cargo put which program, by its messages; of several of one name the last.
pub(crate) fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    messages.filter_map(|message| Some((message.target?.name, message.executable?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"tcp_trace"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"build-script-build"},"executable":"/t/build"}
{"reason":"compiler-artifact","target":{"name":"tcp-trace"},"executable":"/t/release/tcp-trace"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executables(messages).remove(PROGRAM), Some("/t/release/tcp-trace".into()));
        assert!(executables("warning: no json").is_empty());
    }
}
