//! `tcp-trace show`.

use std::process::ExitCode;

use anyhow::Context as _;

use super::{
    Context,
    args::{One, Show},
    client::ClientError,
    exit::Misuse,
    print,
    settings::Stay,
    source::Source,
    text,
};
use crate::{api, core::connection::ConnectionId, serve::filter::FilterArgs};

/// Shows a connection of the daemon's, or of a trace of one's own.
pub(super) async fn run(context: &Context, args: &Show) -> anyhow::Result<ExitCode> {
    named(&args.one)?;
    if let Some(id) = args.one.id {
        has_numbers(context, id).await?;
    }
    let source = Source::open(context, &args.tracing, Stay::Moment).await?;
    from(&source, &args.one, &source.style(context)).await
}

/// Whether the words say which connection.
fn named(one: &One) -> Result<(), Misuse> {
    if one.id.is_some() || one.closed || one.oldest || one.newest {
        return Ok(());
    }
    if one.filter.to_args() != FilterArgs::default() {
        return Ok(());
    }
    Err(Misuse(
        "which connection? Give its ID, as list prints it, or filters of list, such as --state \
         close_wait --oldest, --remote 10.0.0.5:443 or --pid 2207 ('tcp-trace show --help' has them \
         all)"
            .to_owned(),
    ))
}

/// Whether the number `id` can mean anything: it is a daemon's, which alone has given any.
async fn has_numbers(context: &Context, id: ConnectionId) -> anyhow::Result<()> {
    let Err(error) = Source::daemon(context).await else { return Ok(()) };
    if let Some(ClientError::NoDaemon { path }) = error.downcast_ref() {
        anyhow::bail!(
            "no tcp-trace daemon answers on {}, and a number such as {id} is one that a daemon has \
             given: name the connection by filters instead, such as 'tcp-trace show --state \
             close_wait --oldest' or 'tcp-trace show --remote 10.0.0.5:443'",
            path.display()
        );
    }
    Err(error)
}

/// Shows a connection of any source.
pub(super) async fn from(
    source: &Source,
    one: &One,
    style: &text::Style,
) -> anyhow::Result<ExitCode> {
    named(one)?;
    let (connection, others) = match one.id {
        Some(id) => (by_id(source, &id.to_string(), style).await?, None),
        None => by_filter(source, one, style).await?,
    };
    if one.json {
        print::json(&connection)?;
    } else {
        print::line(&text::show::timeline(&connection, style))?;
    }
    if let Some(others) = others {
        print::note(&others);
    }
    Ok(ExitCode::SUCCESS)
}

async fn by_id(source: &Source, id: &str, style: &text::Style) -> anyhow::Result<api::Connection> {
    source.connection(id).await?.with_context(|| {
        format!(
            "there is no connection {id}: it was never seen, or it closed too long ago to be kept \
             (see '{}')",
            style.command.next("tcp-trace list --closed")
        )
    })
}

/// The one that passes, and how many others do.
async fn by_filter(
    source: &Source,
    one: &One,
    style: &text::Style,
) -> anyhow::Result<(api::Connection, Option<String>)> {
    let mut filter = one.filter.to_args();
    filter.closed = one.closed;
    // They come oldest first.
    filter.limit = Some(usize::from(!one.newest));
    let list = source.connections(&filter).await?;
    let found = if one.newest { list.connections.last() } else { list.connections.first() };
    let found = found.with_context(|| {
        let (hint, list) = if one.closed {
            ("", "tcp-trace list --closed")
        } else {
            (" (--closed looks at those that have ended, too)", "tcp-trace list")
        };
        format!("no connection matches{hint}; '{}' shows what there is", style.command.next(list))
    })?;
    let connection = by_id(source, &found.id, style).await?;
    Ok((connection, text::show::others(list.total, one.newest)))
}
