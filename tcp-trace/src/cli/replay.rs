//! `tcp-trace replay`.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;

use super::{
    Context,
    args::{Output, Replay, ReplayCommand, Tracing},
    diagnose, list, print,
    settings::Stay,
    show,
    source::{Events, Source},
    status, text,
    watch::Printer,
};
use crate::{
    engine::replay::{self, Opened, Replayed},
    serve::filter::FilterArgs,
};

/// Events that may wait for the printer.
const BACKLOG: usize = 4096;

/// Replays a recording or a capture; a damaged one up to the damage, which is then the error.
pub(super) async fn run(context: &Context, args: &Replay) -> anyhow::Result<ExitCode> {
    let config = context.settings.tracing(&Tracing::default(), Stay::Moment, None)?;
    let command = text::Command::replay(&args.file);
    let style = text::Style { command, ..context.style.clone() };
    let opened = replay::open(&args.file, &config)?;
    let (code, (damage, passed_over)) = match &args.command {
        None => {
            let output = Output::text();
            watch(context, opened, &output, &FilterArgs::default()).await?
        }
        Some(ReplayCommand::Watch { output, filter }) => {
            watch(context, opened, output, &filter.to_args()).await?
        }
        Some(command) => {
            let Replayed { engine, damage, passed_over } = play(opened, || {}).await?;
            let source = Source::Local(engine);
            let code = match command {
                ReplayCommand::List(rows) => list::from(&source, rows, &style).await?,
                ReplayCommand::Show(one) => show::from(&source, one, &style).await?,
                ReplayCommand::Diagnose(judge) => diagnose::from(&source, judge, &style).await?,
                ReplayCommand::Status(args) => status::from(&source, args, &style).await?,
                ReplayCommand::Watch { .. } => ExitCode::SUCCESS,
            };
            (code, (damage, passed_over))
        }
    };
    if let Some(line) = text::status::passed_over(&passed_over) {
        print::note(&line);
    }
    match damage {
        None => Ok(code),
        Some(damage) => Err(damage
            .context(format!("{}: what came before the damage is above", args.file.display()))),
    }
}

/// Why a file could not be read to its end, and what of a capture told of no connection.
type Rest = (Option<anyhow::Error>, Vec<(&'static str, u64)>);

async fn watch(
    context: &Context,
    opened: Opened,
    output: &Output,
    filter: &FilterArgs,
) -> anyhow::Result<(ExitCode, Rest)> {
    let receiver = opened.events();
    let waiting = opened.backlog();
    let events = Events::local(receiver, filter.to_query()?);
    let mut printer = Printer::new(output, &context.style);
    printer.begin()?;
    let playing = tokio::spawn(play(opened, move || {
        while waiting() > BACKLOG {
            std::thread::sleep(Duration::from_millis(1));
        }
    }));
    // The stream ends when the player, which alone sends, is done and dropped.
    let printing = async {
        let played = playing.await.context("the player died")??;
        let Replayed { engine, damage, passed_over } = played;
        engine.stop();
        anyhow::Ok((damage, passed_over))
    };
    let (streamed, rest) = tokio::join!(printer.stream(events), printing);
    streamed?;
    Ok((ExitCode::SUCCESS, rest?))
}

async fn play(opened: Opened, pause: impl FnMut() + Send + 'static) -> anyhow::Result<Replayed> {
    tokio::task::spawn_blocking(move || opened.play(pause)).await.context("the player died")
}
