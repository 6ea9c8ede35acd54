//! `tcp-trace status`.

use std::process::ExitCode;

use super::{Context, args::Status, print, source::Source, text};

/// Asks the daemon how it stands.
pub(super) async fn run(context: &Context, args: &Status) -> anyhow::Result<ExitCode> {
    let source = Source::daemon(context).await?;
    from(&source, args, &context.style).await
}

/// Asks any source.
pub(super) async fn from(
    source: &Source,
    args: &Status,
    style: &text::Style,
) -> anyhow::Result<ExitCode> {
    let status = source.status().await?;
    if args.json {
        print::json(&status)?;
    } else {
        print::line(&text::status::status(&status, style))?;
    }
    Ok(ExitCode::SUCCESS)
}
