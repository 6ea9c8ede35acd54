//! Where answers come from: the daemon, a trace of one's own, or a recording.

use std::{pin::Pin, sync::Arc};

use anyhow::Context as _;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::broadcast;

use super::{
    Context,
    args::{Filter, Judge, Output, Tracing},
    client::{Client, ClientError},
    exit::{Misuse, NeedsRoot},
    print,
    settings::Stay,
    text::Style,
};
use crate::{
    api,
    core::{diagnosis::Asked, query::Query},
    engine::{Engine, live},
    serve::{event_filter, filter::FilterArgs, thresholds::ThresholdArgs},
};

/// A place to ask.
pub(super) enum Source {
    /// The daemon.
    Daemon(Client),
    /// A tracer within this process.
    Local(Engine),
}

impl Source {
    /// The daemon, or where none runs, a tracer for the life of this command.
    pub(super) async fn open(
        context: &Context,
        tracing: &Tracing,
        stay: Stay,
    ) -> anyhow::Result<Self> {
        Self::open_with(context, tracing, stay, Asked::default()).await
    }

    /// Likewise; a tracer of one's own goes by these thresholds.
    pub(super) async fn open_with(
        context: &Context,
        tracing: &Tracing,
        stay: Stay,
        asked: Asked,
    ) -> anyhow::Result<Self> {
        let socket = context.settings.socket(&context.global);
        match Client::connect(&socket).await {
            Ok(_) if tracing.is_given() => Err(Misuse(format!(
                "a daemon answers on {}, and how it traces is settled: --netns, --backend, --btf, \
                 --stacks and the like are flags of its own: restart it with them; to look at one \
                 namespace, use --in-netns",
                socket.display()
            ))
            .into()),
            Ok(client) => Ok(Self::Daemon(client)),
            Err(ClientError::Permission { .. }) => {
                Err(NeedsRoot(socket.display().to_string()).into())
            }
            Err(ClientError::NoDaemon { .. }) => {
                let mut config = context.settings.tracing(tracing, stay, None)?;
                config.thresholds = config.thresholds.with(asked);
                let engine = live::start(&config).with_context(|| {
                    format!(
                        "no daemon answers on {}, and tracing from here is not possible",
                        socket.display()
                    )
                })?;
                print::note(&format!(
                    "no daemon answers on {}: tracing from here while this runs; of sockets that \
                     were open before, those of this namespace are known, and how old they are \
                     at least",
                    socket.display()
                ));
                Ok(Self::Local(engine))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The daemon alone.
    pub(super) async fn daemon(context: &Context) -> anyhow::Result<Self> {
        let socket = context.settings.socket(&context.global);
        match Client::connect(&socket).await {
            Ok(client) => Ok(Self::Daemon(client)),
            Err(ClientError::Permission { .. }) => {
                Err(NeedsRoot(socket.display().to_string()).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// How the tracer stands.
    pub(super) async fn status(&self) -> anyhow::Result<api::Status> {
        match self {
            Self::Daemon(client) => Ok(client.status().await?),
            Self::Local(engine) => Ok(engine.handle().status().await?),
        }
    }

    /// Connections that pass `filter`.
    pub(super) async fn connections(
        &self,
        filter: &FilterArgs,
    ) -> anyhow::Result<api::ConnectionList> {
        match self {
            Self::Daemon(client) => Ok(client.connections(filter).await?),
            Self::Local(engine) => {
                let limit = filter.limit.unwrap_or(0);
                Ok(engine.handle().connections(filter.to_query()?, limit, filter.closed).await?)
            }
        }
    }

    /// The style for answers of this source.
    pub(super) fn style(&self, context: &Context) -> Style {
        let style = context.style.clone();
        match self {
            Self::Daemon(_) => style,
            Self::Local(_) => Style { command: style.command.clone().without_ids(), ..style },
        }
    }

    /// Whether it is a tracer within this process, which has just begun.
    pub(super) fn is_new(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// What is wrong.
    pub(super) async fn diagnosis(&self, args: &ThresholdArgs) -> anyhow::Result<api::Diagnosis> {
        match self {
            Self::Daemon(client) => Ok(client.diagnosis(args).await?),
            Self::Local(engine) => Ok(engine.handle().diagnosis(args.to_asked()?).await?),
        }
    }

    /// One connection with its timeline.
    pub(super) async fn connection(&self, id: &str) -> anyhow::Result<Option<api::Connection>> {
        match self {
            Self::Daemon(client) => match client.connection(id).await {
                Ok(connection) => Ok(Some(connection)),
                Err(ClientError::Refused { status: 404, .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Self::Local(engine) => {
                let id = id.parse().with_context(|| {
                    format!("'{id}' is no connection's number (they are hexadecimal, such as 3f9c)")
                })?;
                Ok(engine.handle().connection(id).await?)
            }
        }
    }

    /// What happens from now on and passes `filter`.
    pub(super) async fn events(&self, filter: &FilterArgs) -> anyhow::Result<Events> {
        match self {
            Self::Daemon(client) => Ok(Events::Daemon(Box::pin(client.events(filter).await?))),
            Self::Local(engine) => Ok(Events::local(engine.handle().events(), filter.to_query()?)),
        }
    }
}

/// A stream of events.
pub(super) enum Events {
    /// From the daemon, which has filtered them.
    Daemon(Pin<Box<dyn Stream<Item = Result<api::Event, ClientError>> + Send>>),
    /// From a tracer within this process.
    Local { receiver: broadcast::Receiver<Arc<api::Event>>, query: Query },
}

impl Events {
    /// Those of `receiver` that pass `query`.
    pub(super) fn local(receiver: broadcast::Receiver<Arc<api::Event>>, query: Query) -> Self {
        Self::Local { receiver, query }
    }

    /// The next one; `None` where the stream has ended.
    pub(super) async fn next(&mut self) -> Option<anyhow::Result<api::Event>> {
        match self {
            Self::Daemon(events) => {
                let event = events.next().await?;
                Some(event.map_err(Into::into))
            }
            Self::Local { receiver, query } => loop {
                match receiver.recv().await {
                    Ok(event) if event_filter::passes(query, &event) => {
                        return Some(Ok((*event).clone()));
                    }
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        return Some(Ok(lagged(missed)));
                    }
                }
            },
        }
    }
}

fn lagged(count: u64) -> api::Event {
    let at = jiff::Timestamp::now();
    api::Event::Lost(api::LostEvent {
        at: format!("{at:.9}"),
        stage: "subscriber".to_owned(),
        count,
    })
}

impl Filter {
    /// As the API takes it.
    pub(super) fn to_args(&self) -> FilterArgs {
        FilterArgs {
            state: self.state.iter().map(|state| state.name().to_owned()).collect(),
            older_than: self.older_than.map(|age| age.as_secs_f64().to_string()),
            pid: self.pid.map(|pid| pid.to_string()),
            process: self.process.clone(),
            local: self.local.as_ref().map(|text| text.0.clone()),
            remote: self.remote.as_ref().map(|text| text.0.clone()),
            port: self.port.map(|port| port.to_string()),
            netns: self.in_netns.map(|inode| inode.to_string()),
            closed: false,
            limit: None,
        }
    }
}

impl Judge {
    /// As the API takes it.
    pub(super) fn to_args(&self) -> ThresholdArgs {
        let seconds =
            |span: Option<std::time::Duration>| span.map(|span| span.as_secs_f64().to_string());
        ThresholdArgs {
            older_than: seconds(self.older_than),
            at_least: self.at_least.map(|count| count.to_string()),
            share: self.share.map(|share| share.to_string()),
            window: seconds(self.window),
            failures: self.failures.map(|count| count.to_string()),
        }
    }
}

impl Output {
    /// Text, without end.
    pub(super) fn text() -> Self {
        Self {
            format: super::args::Format::Text,
            json: false,
            wide: false,
            timestamp: false,
            count: None,
            span: None,
        }
    }
}
