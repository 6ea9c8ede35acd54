//! `tcp-trace show`.

use std::process::ExitCode;

use anyhow::Context as _;

use super::{
    Context,
    args::{One, Show},
    print,
    settings::Stay,
    source::Source,
    text,
};

/// Shows a connection of the daemon's, or of a trace of one's own.
pub(super) async fn run(context: &Context, args: &Show) -> anyhow::Result<ExitCode> {
    let source = Source::open(context, &args.tracing, Stay::Moment).await?;
    from(&source, &args.one, &context.style).await
}

/// Shows a connection of any source.
pub(super) async fn from(
    source: &Source,
    one: &One,
    style: &text::Style,
) -> anyhow::Result<ExitCode> {
    let connection = source.connection(&one.id).await?.with_context(|| {
        format!(
            "there is no connection {}: it was never seen, or it closed too long ago to be kept \
             (see 'tcp-trace list --closed')",
            one.id
        )
    })?;
    if one.json {
        print::json(&connection)?;
    } else {
        print::line(&text::show::timeline(&connection, style))?;
    }
    Ok(ExitCode::SUCCESS)
}
