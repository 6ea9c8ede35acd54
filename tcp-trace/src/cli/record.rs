//! `tcp-trace record`.

use std::{fs::OpenOptions, io::BufWriter, os::unix::fs::OpenOptionsExt as _, process::ExitCode};

use anyhow::Context as _;

use super::{Context, args::Record, print, settings::Stay};
use crate::engine::live;

/// Records until told to end. A recording names peers and processes, so it is its owner's alone.
pub(super) async fn run(context: &Context, args: &Record) -> anyhow::Result<ExitCode> {
    let config = context.settings.tracing(&args.tracing, Stay::Long, None)?;
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    if args.force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let path = args.file.display();
    let file = options.open(&args.file).with_context(|| {
        format!("creating the recording {path} failed (--force writes over a file that is there)")
    })?;
    let started = live::start_recording(&config, Box::new(BufWriter::new(file)));
    let (engine, end) = started.inspect_err(|_| {
        // Nothing was recorded, so nothing is left behind.
        let _ = std::fs::remove_file(&args.file);
    })?;
    print::note(&format!("recording to {path}; {}", ending(args)));
    match args.span {
        Some(span) => {
            tokio::select! {
                () = tokio::time::sleep(span) => {}
                result = tokio::signal::ctrl_c() => result?,
            }
        }
        None => tokio::signal::ctrl_c().await?,
    }
    engine.stop();
    let frames = end.recv().context("the tracer ended before the recording was complete")?;
    let frames = frames.with_context(|| format!("writing the recording {path} failed"))?;
    print::note(&format!("{frames} records in {path}; try: tcp-trace replay {path}"));
    Ok(ExitCode::SUCCESS)
}

fn ending(args: &Record) -> String {
    args.span.map_or_else(
        || "Ctrl-C ends it".to_owned(),
        |span| format!("for {}", crate::core::sentence::span_text(span)),
    )
}
