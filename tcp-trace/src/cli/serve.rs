//! `tcp-trace serve`: the daemon.

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, args::Serve, settings::Stay};
use crate::{
    engine::{Engine, live},
    kernel::{host::HostFacts, plan},
    serve::listen::{self, Listeners, Network},
};

/// Binds, attaches, serves until told to end, detaches.
pub(super) async fn run(context: &Context, args: &Serve) -> anyhow::Result<ExitCode> {
    let mut config = context.settings.tracing(&args.tracing, Stay::Long, args.process_series)?;
    let older_than =
        args.older_than.map_or_else(|| context.settings.older_than(), |age| Ok(Some(age)))?;
    config.thresholds.older_than = older_than.unwrap_or(config.thresholds.older_than);
    let socket = context.settings.socket(&context.global);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // First what fails without having touched the kernel; of that, what has the clearest way out.
    let (web_file, api) = context.settings.network(&args.web);
    let addresses = context.settings.listen(&args.web);
    listen::well_formed(&addresses)?;
    let network = Network::open(web_file.as_deref(), api)?;
    plan::rule_out(&HostFacts::gather(config.btf.as_deref()))?;
    let listeners = Listeners::bind(&addresses, Some(&socket)).await?;
    listeners.allow(&network)?;
    let mut engine = tokio::task::spawn_blocking(move || live::start(&config))
        .await
        .context("the start-up died")??;
    announce(&engine, &listeners, network.scheme(), &socket).await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let server = tokio::spawn(listen::run(listeners, network, engine.handle(), stopped));
    notify(&[NotifyState::Ready]);
    let watchdog = tokio::spawn(watchdog(engine.handle()));
    let reason = tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        () = engine.ended() => Err(anyhow::anyhow!("the tracer has died; see the log above")),
    };
    notify(&[NotifyState::Stopping]);
    watchdog.abort();
    let _ = stop.send(true);
    server.await.context("the server died")??;
    tokio::task::spawn_blocking(move || engine.stop()).await.context("detaching failed")?;
    tracing::info!(reason = reason?, "stopped; everything is detached");
    Ok(ExitCode::SUCCESS)
}

/// Says where things are and what is given up.
async fn announce(
    engine: &Engine,
    listeners: &Listeners,
    scheme: &str,
    socket: &Path,
) -> anyhow::Result<()> {
    let status = engine.handle().status().await?;
    for lost in &status.degradations {
        tracing::info!(reason = lost.reason, effect = lost.effect, "reduced: {}", lost.feature);
    }
    for address in listeners.addresses() {
        tracing::info!("metrics on {scheme}://{address}/metrics");
    }
    tracing::info!(
        "tracing kernel {} by {}; ask on {}",
        status.kernel,
        status.backend,
        socket.display()
    );
    Ok(())
}

/// Tells systemd's watchdog that the tracer still answers.
async fn watchdog(handle: crate::engine::Handle) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval(period / 3);
    loop {
        tick.tick().await;
        // A tracer that does not answer is exactly what the watchdog is for.
        if tokio::time::timeout(period / 3, handle.status()).await.is_ok_and(|s| s.is_ok()) {
            notify(&[NotifyState::Watchdog]);
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
