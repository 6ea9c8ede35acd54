//! One TCP stream of iperf3, written in pieces of 128 KiB.

use std::{
    fs,
    io::Read as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    super::placement::{End, Placement},
    paths::Way,
};
use crate::{
    child::{Running, poll},
    tool::IPERF3,
};

const PORT: u16 = 5201;
/// Time for iperf3 to listen, and to end beyond the time of the stream: an emulated machine takes
/// its time.
const GRACE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Sends for so many seconds, and says how many bits were received in one.
pub(super) fn measure(way: &Way, seconds: u32) -> Result<f64> {
    let iperf3 = IPERF3.required()?;
    let (network, address) = &way.receiver;
    let port = PORT.to_string();
    let mut server = Command::new(&iperf3);
    server.args(["--server", "--one-off", "--port", &port, "--bind", address]);
    server.stdin(Stdio::null()).stdout(Stdio::null());
    network.hold(&mut server);
    Placement::Apart.hold(End::Server, &mut server)?;
    let mut server = Running::start(server)?;
    listening(&mut server)?;

    let mut client = Command::new(iperf3);
    client.args(["--client", address, "--port", &port, "--length", "128K", "--json", "--time"]);
    client.arg(seconds.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
    way.sender.hold(&mut client);
    Placement::Apart.hold(End::Client, &mut client)?;
    let mut client = Running::start(client)?;
    let limit = Duration::from_secs(seconds.into()) + GRACE;
    let status = client.wait(limit)?;
    let mut report = String::new();
    if let Some(output) = &mut client.child().stdout {
        output.read_to_string(&mut report).context("cannot read what iperf3 prints")?;
    }
    if !status.success() {
        bail!("iperf3 failed ({status}): {}", complaint(&report));
    }
    server.wait(GRACE)?;
    received(&report).with_context(|| format!("iperf3 reports no rate: {}", complaint(&report)))
}

fn listening(server: &mut Running) -> Result<()> {
    let table = format!("/proc/{}/net/tcp", server.pid());
    let found = poll(GRACE, PAUSE, || {
        if let Some(status) = server.ended()? {
            bail!("iperf3 --server ended at once ({status})");
        }
        // Of its own namespace, in which it is the only one.
        let sockets = fs::read_to_string(&table).unwrap_or_default();
        Ok(is_listening(&sockets).then_some(()))
    })?;
    found.context("iperf3 --server does not listen")
}

/// Whether a row of `/proc/net/tcp` has the port, in LISTEN.
fn is_listening(sockets: &str) -> bool {
    let port = format!(":{PORT:04X}");
    sockets.lines().any(|row| {
        let mut words = row.split_ascii_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some("0A")
    })
}

/// Bits received in a second, by the receiver.
fn received(report: &str) -> Option<f64> {
    let report: Value = serde_json::from_str(report).ok()?;
    report.pointer("/end/sum_received/bits_per_second")?.as_f64().filter(|rate| *rate > 0.0)
}

fn complaint(report: &str) -> String {
    let json: Option<Value> = serde_json::from_str(report).ok();
    let said = json.as_ref().and_then(|report| report.get("error")?.as_str());
    said.unwrap_or("it does not say why").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_receivers() {
        let report = r#"{"end":{"sum_sent":{"bits_per_second":3e9},
            "sum_received":{"bits_per_second":2.5e9}}}"#;
        assert_eq!(received(report), Some(2.5e9));
        assert_eq!(received("{}"), None);
        assert_eq!(complaint(r#"{"error":"no route"}"#), "no route");
        assert_eq!(complaint("what?"), "it does not say why");
    }

    #[test]
    fn a_listener_is_told_from_its_connections() {
        let titles = "  sl  local_address rem_address   st tx_queue\n";
        let row = |state| format!("{titles}   0: 0100007F:1451 00000000:0000 {state} 0:0\n");
        assert!(is_listening(&row("0A")));
        assert!(!is_listening(&row("01")));
        assert!(!is_listening(titles));
        assert!(!is_listening("   0: 0100007F:0050 00000000:1451 0A 0:0\n"));
    }
}
