//! `tcp-trace watch`.

use std::process::ExitCode;

use super::{
    Context,
    args::{Format, Output, Watch},
    print,
    settings::Stay,
    source::{Events, Source},
    text::{self, Style, tcpstates::Columns},
};
use crate::api::Event;

/// Streams from the daemon, or from a trace of one's own.
pub(super) async fn run(context: &Context, args: &Watch) -> anyhow::Result<ExitCode> {
    let source = Source::open(context, &args.tracing, Stay::Long).await?;
    let events = source.events(&args.filter.to_args()).await?;
    let mut printer = Printer::new(&args.output, &context.style);
    printer.begin()?;
    let end = until(args.output.span);
    tokio::pin!(end);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    tokio::select! {
        result = printer.stream(events) => result?,
        () = &mut end => {}
        result = &mut interrupted => result?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn until(span: Option<std::time::Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

/// Prints events in the format asked for.
pub(super) struct Printer {
    format: Format,
    columns: Columns,
    style: Style,
    left: Option<u64>,
    /// The youngest moment told.
    latest: String,
}

impl Printer {
    /// One for standard output.
    pub(super) fn new(output: &Output, style: &Style) -> Self {
        Self {
            format: if output.json { Format::Json } else { output.format },
            columns: Columns { wide: output.wide, time: output.timestamp },
            style: style.clone(),
            left: output.count,
            latest: String::new(),
        }
    }

    /// Prints the line above the others.
    pub(super) fn begin(&self) -> anyhow::Result<()> {
        match self.format {
            Format::Text => print::line(&text::watch::header(&self.style))?,
            Format::Tcpstates => print::line(&text::tcpstates::header(self.columns))?,
            Format::Tcplife => print::line(&text::tcplife::header(self.columns))?,
            Format::Json => {}
        }
        Ok(())
    }

    /// Prints until the stream ends or enough lines are out.
    pub(super) async fn stream(&mut self, mut events: Events) -> anyhow::Result<()> {
        while self.left != Some(0) {
            let Some(event) = events.next().await else { break };
            if self.event(&event?)? {
                self.left = self.left.map(|left| left.saturating_sub(1));
            }
        }
        Ok(())
    }

    /// Whether something younger has been told; moments are all written alike.
    fn is_late(&mut self, at: &str) -> bool {
        let late = *at < *self.latest;
        if !late {
            at.clone_into(&mut self.latest);
        }
        late
    }

    /// Prints one event; false where the format has no line for it.
    fn event(&mut self, event: &Event) -> anyhow::Result<bool> {
        let line = match (self.format, event) {
            (Format::Json, event) => {
                print::json_line(event)?;
                return Ok(true);
            }
            (Format::Text, Event::State(event)) => {
                text::watch::line(event, self.is_late(&event.at), &self.style)
            }
            (Format::Text, Event::Closed(event)) => text::watch::closed(event, &self.style),
            (Format::Text, Event::Lost(event)) => text::watch::lost(event, &self.style),
            (Format::Tcpstates, Event::State(event)) => {
                text::tcpstates::row(event, self.columns, &self.style)
            }
            (Format::Tcplife, Event::Closed(event)) => {
                match text::tcplife::row(event, self.columns, &self.style) {
                    Some(row) => row,
                    None => return Ok(false),
                }
            }
            // The tools whose columns these are say so on standard error, too.
            (Format::Tcpstates | Format::Tcplife, Event::Lost(event)) => {
                print::note(&text::watch::lost(event, &self.style));
                return Ok(false);
            }
            (Format::Tcpstates, Event::Closed(_)) | (Format::Tcplife, Event::State(_)) => {
                return Ok(false);
            }
        };
        print::line(&line)?;
        Ok(true)
    }
}
