//! Grafana's own types: each dashboard is compiled as a value of its `Dashboard`.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::board::Board;
use crate::{archive::run, checkout::Checkout, tool::Tool};

/// Installs the types and the compiler, as `dashboards/check/package-lock.json` pins them.
const NPM: Tool = Tool { name: "npm", install: "apt-get install nodejs npm" };

/// JSON has texts where the types have enumerations of them.
const PRELUDE: &str = "import type { Dashboard } from '@grafana/schema';
type Plain<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
// What Prometheus's own part of an annotation adds.
type Marks = { annotations?: { list?: { expr?: string; titleFormat?: string }[] } };
type Board = Plain<Dashboard> & Marks;
";

/// The directory below `target/` in which they are installed.
pub(super) fn workshop(checkout: &Checkout) -> Result<std::path::PathBuf> {
    let directory = checkout.root().join("target/dashboards");
    let tried = || format!("cannot use {}", directory.display());
    fs::create_dir_all(&directory).with_context(tried)?;
    let mut same = true;
    for name in ["package.json", "package-lock.json"] {
        let pinned = checkout.text(&format!("dashboards/check/{name}"))?;
        let path = directory.join(name);
        if fs::read_to_string(&path).ok().as_ref() != Some(&pinned) {
            same = false;
            fs::write(&path, pinned).with_context(tried)?;
        }
    }
    let done = directory.join("node_modules/.installed");
    if !same || !done.is_file() {
        let npm = NPM.required()?;
        run(Command::new(npm)
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&directory))?;
        fs::write(&done, "").with_context(tried)?;
    }
    Ok(directory)
}

/// Compiles them.
pub(super) fn check(checkout: &Checkout) -> Result<String> {
    let directory = workshop(checkout)?;
    let boards = Board::all(checkout)?;
    let mut source = PRELUDE.to_owned();
    for (number, board) in boards.iter().enumerate() {
        let json = serde_json::to_string_pretty(&board.json).context("a dashboard is no JSON")?;
        // What goes into a file has no number yet.
        let json = json.replacen("\"id\": null,", "", 1);
        source.extend(["export const board", &number.to_string(), ": Board = ", &json, ";\n"]);
    }
    compile(&directory, &source)?;
    // The compiler must be able to say no.
    let wrong = source.replacen("\"schemaVersion\": ", "\"schemaVersion\": \"\" + ", 1);
    if compile(&directory, &wrong).is_ok() {
        anyhow::bail!("the compiler takes a schemaVersion that is a text: it checks nothing");
    }
    Ok(format!("{} dashboards are Grafana's Dashboard", boards.len()))
}

fn compile(directory: &Path, source: &str) -> Result<()> {
    let path = directory.join("boards.ts");
    fs::write(&path, source).with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = Command::new("node");
    command
        .arg("node_modules/typescript/bin/tsc")
        .args(["--noEmit", "--strict", "--skipLibCheck", "--module", "esnext"])
        .args(["--moduleResolution", "bundler", "boards.ts"])
        .current_dir(directory);
    // It tells its findings on standard output.
    let output = command.output().context("cannot start node")?;
    if !output.status.success() {
        anyhow::bail!("{}", String::from_utf8_lossy(&output.stdout).trim());
    }
    Ok(())
}
