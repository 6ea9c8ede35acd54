//! `tcp-trace demo`, a daemon that watches its network namespace, and a Prometheus that scrapes the
//! daemon and is asked everything. All of it in a network namespace of one's own.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail};

use serde::{Deserialize, Serialize};

use super::{
    alarms::Alarms,
    board::Board,
    mixin, none_of, pictures, queries,
    queries::{Answered, Stretch},
    releases::Release,
    server::Server,
    trouble,
    watcher::{ADDRESS, PASSWORD, USER, Watcher, clean},
};
use crate::{
    cargo::{Profile, build},
    checkout::Checkout,
    child::{Running, poll},
    namespace::{self, Network},
    privilege,
    tool::words,
};

/// Time until the demo's players are there.
const START: Duration = Duration::from_secs(40);
/// Time until everything has been answered, and every alert is as it should be.
const LIMIT: Duration = Duration::from_mins(4);
/// Some minutes: what the scene can raise has been raised by then, twice over.
const LEAST: Duration = Duration::from_mins(2);
/// Time for all of it.
const ALL: Duration = Duration::from_mins(8);
const PAUSE: Duration = Duration::from_millis(200);
/// Between two scrapes, in seconds.
pub(super) const INTERVAL: u32 = 2;
/// How far back panels look, in seconds.
const BACK: u64 = 60;

/// What the part that runs as root works with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tcp-trace to start
    program: PathBuf,
    /// The Prometheus to start
    prometheus: PathBuf,
    /// Where to write the answers
    answers: PathBuf,
    /// Make trouble in the end
    #[arg(long)]
    trouble: bool,
}

/// What that part found.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    /// What every dashboard was answered.
    answered: Vec<Answered>,
    /// What came of the trouble, if there was any.
    trouble: Option<String>,
}

/// The check: as root, by sudo if need be.
pub(super) fn take(checkout: &Checkout, release: &Release, draw: bool) -> Result<String> {
    let server = release.server(checkout)?;
    let program = build(checkout, Profile::Debug)?;
    let answers = tempfile::NamedTempFile::new().context("cannot make a file for the answers")?;
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = privilege::as_root(&this, &[])?;
    command.current_dir(checkout.root()).args(["dashboards", "live"]);
    command.args([&program, &server]).arg(answers.path());
    if release.in_trouble {
        command.arg("--trouble");
    }
    let words = words(&command);
    let status = Running::start(command)?.wait(ALL)?;
    if !status.success() {
        bail!("{words} failed ({status}); its own words are above");
    }
    let text = fs::read_to_string(answers.path()).context("cannot read the answers")?;
    let Found { answered, trouble } =
        serde_json::from_str(&text).context("the answers are not as expected")?;
    let count: usize = answered.iter().map(|board| board.answers.len()).sum();
    if draw {
        pictures::draw(checkout, &answered)?;
    }
    let note = format!("{count} queries answered, the demo's alerts fire and no other");
    Ok([note].into_iter().chain(trouble).collect::<Vec<_>>().join("; "))
}

/// What that check does as root.
pub(super) fn run(args: &Args) -> Result<()> {
    let checkout = Checkout::find()?;
    let boards = Board::all(&checkout)?;
    namespace::enter_network()?;
    let demo = demo(&args.program)?;
    let players = poll(START, PAUSE, || Ok(players(demo.pid())))?
        .context("the demo has no players in a namespace of their own")?;
    let players = Network::open(&players)?;
    let mut watcher = Watcher::start(&args.program, &players)?;
    watcher.prove_locked()?;
    let certificate = watcher.certificate()?;
    let alerts = mixin::hurried_alerts(&checkout)?;
    let rules = checkout.text("dashboards/prometheus/rules.yaml")?;
    let files =
        [("alerts.yaml", &*alerts), ("rules.yaml", &rules), ("tcp-trace.crt", &certificate)];
    let server = Server::start(&args.prometheus, &configuration(), &files)?;
    let answered = gather(&server, &boards)?;
    let trouble =
        args.trouble.then(|| trouble::make(&server, &mut watcher, &players)).transpose()?;
    drop((server, watcher, demo));
    let found = Found { answered, trouble };
    let text = serde_json::to_string(&found).context("the answers are no JSON")?;
    fs::write(&args.answers, text)
        .with_context(|| format!("cannot write {}", args.answers.display()))
}

/// Asks everything until each query has been answered and each alert has fired, each at its own time
/// of the scene. The answers are those of a moment at which most had any, as late in the first minute
/// as there is one: one moment, as it is drawn, with the scene behind it.
fn gather(server: &Server, boards: &[Board]) -> Result<Vec<Answered>> {
    let begun = Instant::now();
    let mut never: Option<BTreeSet<String>> = None;
    let mut alarms = Alarms::default();
    let mut best: Option<(usize, Vec<Answered>)> = None;
    poll(LIMIT, Duration::from_secs(INTERVAL.into()), || {
        let (answered, empty) = queries::all(server, boards, stretch()?)?;
        let silent: BTreeSet<_> = empty.into_iter().collect();
        let is_first_minute = begun.elapsed() <= Duration::from_secs(BACK);
        let is_better =
            |count: usize| silent.len() < count || silent.len() == count && is_first_minute;
        if best.as_ref().is_none_or(|(count, _)| is_better(*count)) {
            best = Some((silent.len(), answered));
        }
        let left = match never.take() {
            None => silent,
            Some(before) => before.intersection(&silent).cloned().collect(),
        };
        alarms.look(server)?;
        let done = left.is_empty() && alarms.missing().is_empty() && begun.elapsed() > LEAST;
        never = Some(left);
        Ok(done.then_some(()))
    })?;
    let mut faults: Vec<_> =
        never.into_iter().flatten().map(|query| format!("no data: {query}")).collect();
    faults.extend(alarms.faults());
    none_of(&faults, String::new())?;
    best.map(|(_, answered)| answered).context("there was no time to ask anything")
}

fn stretch() -> Result<Stretch> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let end = now.context("the clock stands before 1970")?.as_secs();
    Ok(Stretch { start: end - BACK, end, step: INTERVAL.into() })
}

fn demo(program: &Path) -> Result<Running> {
    let mut command = clean(program);
    command.args(["demo", "--keep"]).stdout(Stdio::null());
    Running::start(command)
}

/// The namespace of the demo's players: that of its first child which is not in ours.
fn players(demo: u32) -> Option<PathBuf> {
    let ours = fs::read_link("/proc/self/ns/net").ok()?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.map(|entry| entry.path()).find_map(|process| {
        let status = fs::read_to_string(process.join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"))?;
        let netns = process.join("ns/net");
        let is_player = parent == demo.to_string() && fs::read_link(&netns).ok()? != ours;
        is_player.then_some(netns)
    })
}

fn configuration() -> String {
    let (address, port) = ADDRESS;
    format!(
        "global:\n  scrape_interval: {INTERVAL}s\n  evaluation_interval: {INTERVAL}s\n\
         rule_files: [alerts.yaml, rules.yaml]\n\
         scrape_configs:\n  - job_name: tcp-trace\n    scheme: https\n    \
         tls_config: {{ca_file: tcp-trace.crt}}\n    \
         basic_auth: {{username: {USER}, password: {PASSWORD}}}\n    \
         static_configs:\n      - targets: ['{address}:{port}']\n"
    )
}
