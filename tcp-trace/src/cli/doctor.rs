//! `tcp-trace doctor`.

use std::{fs, path::Path, process::ExitCode};

use anyhow::Context as _;

use super::{Context, args::Doctor, print, settings::Stay, text};
use crate::{doctor, kernel::host::HostFacts};

/// What a host that cannot trace exits with.
const UNSUPPORTED: u8 = 4;

/// Examines this host, or judges another's facts.
pub(super) fn run(context: &Context, args: &Doctor) -> anyhow::Result<ExitCode> {
    let report = if let Some(file) = &args.facts {
        doctor::judge_facts(facts(file)?, args.btf.as_deref())
    } else {
        let segments = context.settings.segments(&args.segments, Stay::Long);
        let try_segments = context.settings.segments(&args.segments, Stay::Moment).on;
        doctor::examine(args.btf.as_deref(), &segments, try_segments)
    };
    if args.json {
        print::json(&report)?;
    } else {
        print::line(&text::doctor::report(&report, &context.style))?;
    }
    Ok(if report.works { ExitCode::SUCCESS } else { ExitCode::from(UNSUPPORTED) })
}

/// Facts alone, or a whole report of `doctor --json`, which holds them.
fn facts(file: &Path) -> anyhow::Result<HostFacts> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("reading the facts in {} failed", file.display()))?;
    let wrong = || format!("{} holds no facts of 'tcp-trace doctor --json'", file.display());
    let json: serde_json::Value = serde_json::from_str(&text).with_context(wrong)?;
    let facts = json.get("facts").cloned().unwrap_or(json);
    serde_json::from_value(facts).with_context(wrong)
}
