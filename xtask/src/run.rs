//! `cargo xtask run`: the daemon from these sources, on this host.

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    cargo::{Profile, build},
    checkout::Checkout,
    privilege,
};

const LISTEN: &str = "--web.listen-address";
const DEFAULT_ADDRESS: &str = "127.0.0.1:10435";
const SETTINGS: &str = "/etc/tcp-trace.toml";

/// What to give to it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Arguments of `tcp-trace serve`
    #[arg(last = true, value_name = "ARGUMENTS OF SERVE")]
    serve: Vec<OsString>,
}

/// Builds, says what to try, and becomes the daemon.
pub(crate) fn run(args: &Args) -> Result<Infallible> {
    let (program, mut command) = build_for_root()?;
    command.arg("serve").args(&args.serve);

    let sudo = if privilege::is_root() { "" } else { "sudo " };
    let shown = shown(&program);
    let set = env::var("TCP_TRACE_LISTEN_ADDRESS").ok();
    let elsewhere = Path::new(SETTINGS).exists() || value(&args.serve, "--config").is_some();
    let socket = value(&args.serve, "--socket");
    let client = match &socket {
        Some(socket) => format!("{sudo}{shown} --socket {socket}"),
        None => format!("{sudo}{shown}"),
    };
    print!("{}", hints(&address(&args.serve, set, elsewhere), &client));
    turn_into(&mut command)
}

/// Builds tcp-trace: its path, and how root runs it, with the settings of this environment.
pub(crate) fn build_for_root() -> Result<(PathBuf, Command)> {
    privilege::expect_a_way_to_root()?;
    let program = build(&Checkout::find()?, Profile::Release)?;
    let keep: Vec<_> = env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| name.to_string_lossy().starts_with("TCP_TRACE_"))
        .collect();
    let command = privilege::as_root(&program, &keep)?;
    Ok((program, command))
}

/// Becomes `command`: its exit code is this command's, and Ctrl-C reaches it.
pub(crate) fn turn_into(command: &mut Command) -> Result<Infallible> {
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", crate::tool::words(command)))
}

/// The metrics' address.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    /// This one.
    Known(String),
    /// This one unless a settings file names another.
    Default,
    /// One that the kernel chooses.
    Chosen,
}

fn address(serve: &[OsString], set: Option<String>, settings: bool) -> Address {
    let named = value(serve, LISTEN).or(set);
    let first = named.and_then(|list| list.split(',').next().map(str::to_owned));
    match first {
        Some(address) if address.ends_with(":0") => Address::Chosen,
        Some(address) => Address::Known(address),
        None if settings => Address::Default,
        None => Address::Known(DEFAULT_ADDRESS.into()),
    }
}

/// What follows `flag`, after a space or an equals sign.
fn value(arguments: &[OsString], flag: &str) -> Option<String> {
    let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy());
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix(flag) {
            Some("") => return arguments.next().map(Into::into),
            Some(rest) if rest.starts_with('=') => return Some(rest[1..].to_owned()),
            _ => {}
        }
    }
    None
}

fn hints(address: &Address, client: &str) -> String {
    let (metrics, curl) = match address {
        Address::Known(address) => (format!("http://{address}/metrics"), address.as_str()),
        Address::Default => (
            format!("http://{DEFAULT_ADDRESS}/metrics, unless the settings file says otherwise"),
            DEFAULT_ADDRESS,
        ),
        Address::Chosen => ("on a port that the log below names".into(), "ADDRESS"),
    };
    format!(
        "Metrics: {metrics}\n\
         Try, in another terminal:\n  \
         curl -s http://{curl}/metrics | grep '^tcp_trace_connections{{'\n  \
         {client} watch\n  \
         {client} list --state close_wait\n\
         Ctrl-C ends it.\n\n"
    )
}

/// `path` as it is best typed here.
fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn the_address_is_the_one_serve_will_use() {
        let known = |address: &str| Address::Known(address.into());
        for (line, set, settings, expected) in [
            ("", None, false, known(DEFAULT_ADDRESS)),
            ("--web.listen-address [::1]:9", Some("1.2.3.4:5"), true, known("[::1]:9")),
            ("--web.listen-address=1.1.1.1:9,[::1]:9", None, false, known("1.1.1.1:9")),
            ("--web.listen-address-x 1", Some("1.2.3.4:5"), false, known("1.2.3.4:5")),
            ("--web.listen-address 127.0.0.1:0", None, false, Address::Chosen),
            ("", None, true, Address::Default),
        ] {
            let found = address(&arguments(line), set.map(str::to_owned), settings);
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn three_things_to_try() {
        let text =
            hints(&Address::Known("127.0.0.1:10435".into()), "sudo target/release/tcp-trace");
        for line in [
            "Metrics: http://127.0.0.1:10435/metrics",
            "  curl -s http://127.0.0.1:10435/metrics | grep '^tcp_trace_connections{'",
            "  sudo target/release/tcp-trace watch",
            "  sudo target/release/tcp-trace list --state close_wait",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
