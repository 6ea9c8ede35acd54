//! `tcp-trace diagnose`.

use std::{process::ExitCode, time::Duration};

use super::{
    Context,
    args::{Diagnose, Judge},
    exit, print,
    settings::Stay,
    source::Source,
    text,
};

/// What a tracer of one's own takes at least, to list the sockets and look into those that are old.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Diagnoses from the daemon, or from a trace of one's own.
pub(super) async fn run(context: &Context, args: &Diagnose) -> anyhow::Result<ExitCode> {
    let asked = args.judge.to_args().to_asked()?;
    let source = Source::open_with(context, &args.tracing, Stay::Moment, asked).await?;
    let style = source.style(context);
    let least = source.is_new().then_some(FIRST_LOOK);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut wait = args.span.max(least);
    let mut code = ExitCode::SUCCESS;
    loop {
        if let Some(wait) = wait {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                result = &mut interrupted => {
                    result?;
                    return Ok(code);
                }
            }
        }
        code = from(&source, &args.judge, &style).await?;
        if args.watch.is_none() {
            return Ok(code);
        }
        wait = args.watch;
        if !args.judge.json {
            print::line("")?;
        }
    }
}

/// Diagnoses from any source.
pub(super) async fn from(
    source: &Source,
    judge: &Judge,
    style: &text::Style,
) -> anyhow::Result<ExitCode> {
    let told = source.diagnosis(&judge.to_args()).await?;
    if judge.json {
        print::json(&told)?;
    } else {
        print::line(&text::diagnosis::diagnosis(&told, style))?;
    }
    Ok(if told.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::FOUND) })
}
