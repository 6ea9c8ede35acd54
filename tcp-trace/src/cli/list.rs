//! `tcp-trace list`.

use std::process::ExitCode;

use super::{
    Context,
    args::{List, Rows},
    print,
    settings::Stay,
    source::Source,
    text,
};

/// Lists from the daemon, or from a trace of one's own.
pub(super) async fn run(context: &Context, args: &List) -> anyhow::Result<ExitCode> {
    let source = Source::open(context, &args.tracing, Stay::Moment).await?;
    from(&source, &args.rows, &source.style(context)).await
}

/// Lists from any source.
pub(super) async fn from(
    source: &Source,
    rows: &Rows,
    style: &text::Style,
) -> anyhow::Result<ExitCode> {
    let mut filter = rows.filter.to_args();
    filter.closed = rows.closed;
    filter.limit = Some(rows.limit);
    let list = source.connections(&filter).await?;
    if rows.json {
        print::json(&list)?;
    } else {
        print::line(&text::list::table(&list, style))?;
    }
    Ok(ExitCode::SUCCESS)
}
