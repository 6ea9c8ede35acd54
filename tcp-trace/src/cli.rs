//! The command line: one command per file, each working on objects of the API alone.

use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod bench_engine;
pub(crate) mod client;
mod demo;
mod diagnose;
mod doctor;
mod exit;
mod list;
mod logging;
mod packet_costs;
mod print;
mod record;
mod replay;
mod serve;
mod settings;
mod show;
mod source;
mod status;
mod terminal;
pub(crate) mod text;
mod watch;

use args::{Cli, Command};
use settings::FileSettings;

/// What every command needs.
struct Context {
    global: args::Global,
    settings: FileSettings,
    style: text::Style,
}

/// Runs the command line; the exit code is part of the contract.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way, too, with code 0.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { global, command } = cli;
    if let Command::DemoActor(args) = &command {
        // A process of the scene: neither settings nor a log nor threads that it does not need.
        crate::demo::actor::run(args.role)?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = FileSettings::read(global.config.as_deref())?;
    let daemon = matches!(command, Command::Serve(_));
    logging::start(settings.log_level(&global, daemon)?, daemon)?;
    // What the environment names need not be named again.
    let told = global.socket.as_deref().filter(|_| std::env::var_os("TCP_TRACE_SOCKET").is_none());
    let next = told.map_or_else(text::Command::default, text::Command::to_socket);
    let style = terminal::style(global.color, next);
    let context = Context { global, settings, style };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::run(&context, &args).await,
            Command::Watch(args) => watch::run(&context, &args).await,
            Command::List(args) => list::run(&context, &args).await,
            Command::Show(args) => show::run(&context, &args).await,
            Command::Diagnose(args) => diagnose::run(&context, &args).await,
            Command::Status(args) => status::run(&context, &args).await,
            Command::Doctor(args) => doctor::run(&context, &args),
            Command::Record(args) => record::run(&context, &args).await,
            Command::Replay(args) => replay::run(&context, &args).await,
            Command::Demo(args) => demo::run(&context, &args).await,
            Command::PacketCosts(args) => packet_costs::run(&args),
            Command::BenchEngine(args) => bench_engine::run(&args),
            Command::DemoActor(_) => Ok(ExitCode::SUCCESS),
        }
    })
}
