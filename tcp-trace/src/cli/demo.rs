//! `tcp-trace demo`: the scene played, traced live by this process alone, and diagnosed.
//!
//! Whatever daemon runs on this host is neither asked nor disturbed: the tracer is one of our own,
//! and it is told to look at the scene's network namespace only.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Serialize;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{MissedTickBehavior, interval},
};

use super::{
    Context,
    args::Demo,
    exit, print,
    settings::Stay,
    text::{self, Style},
};
use crate::{
    api::{Diagnosis, Event},
    core::diagnosis::Asked,
    demo::{
        course::{Course, News},
        cue::Cue,
        excerpt::Excerpt,
        judge::{Judgement, PLANTED},
        role::Role,
        scene,
        troupe::Troupe,
    },
    engine::{Engine, live},
    kernel::{host::HostFacts, plan, segments::Wishes},
};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    judgement: &'a Judgement,
    missing: Vec<String>,
    good: bool,
    seconds: f64,
    diagnosis: &'a Diagnosis,
}

/// Plays, traces, diagnoses and judges.
pub(super) async fn run(context: &Context, args: &Demo) -> anyhow::Result<ExitCode> {
    let config = config(context, args)?;
    // First what has the clearest way out.
    plan::rule_out(&HostFacts::gather(config.btf.as_deref()))?;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut show = Show::new(context, args, config).await?;
    tokio::select! {
        done = show.play() => done?,
        result = &mut interrupted => {
            result?;
            bail!("interrupted; nothing is left of the scene");
        }
    }
    let code = show.conclude().await?;
    if args.keep {
        let netns = show.troupe.netns();
        show.engine.stop();
        print::line(&text::demo::kept(&netns, &program(), &context.style))?;
        interrupted.await?;
    }
    Ok(code)
}

/// How the scene is traced, save where it is.
fn config(context: &Context, args: &Demo) -> anyhow::Result<live::Config> {
    let mut config = context.settings.tracing(&args.tracing(), Stay::Long, None)?;
    config.segments.wishes = Wishes::default();
    config.thresholds.older_than = scene::OLD;
    Ok(config)
}

/// The scene, its tracer and its audience.
struct Show {
    engine: Engine,
    events: Receiver<Arc<Event>>,
    troupe: Troupe,
    course: Course,
    excerpt: Excerpt,
    told: Diagnosis,
    /// When the command began.
    called: Instant,
    /// When it was traced.
    begun: Instant,
    style: Style,
    json: bool,
}

impl Show {
    /// Assembles everybody, and begins to trace before anybody opens a socket.
    async fn new(context: &Context, args: &Demo, mut config: live::Config) -> anyhow::Result<Self> {
        let called = Instant::now();
        let (style, json) = (context.style.clone(), args.json);
        let troupe = Troupe::assemble()?;
        if !json {
            print::line(&text::demo::programme(&style))?;
        }
        config.netns = vec![troupe.netns()];
        let engine = tokio::task::spawn_blocking(move || live::start(&config))
            .await
            .context("the start-up died")??;
        let events = engine.handle().events();
        let (course, excerpt) = <(Course, Excerpt)>::default();
        let (told, begun) = (Diagnosis::default(), Instant::now());
        Ok(Self { engine, events, troupe, course, excerpt, told, called, begun, style, json })
    }

    /// The scene from its beginning to its end.
    async fn play(&mut self) -> anyhow::Result<()> {
        self.until("everybody to be there", Course::are_ready).await?;
        if !self.json {
            self.reduced().await?;
            print::line(&text::watch::header(&self.style))?;
        }
        self.troupe.tell(Role::is_server, Cue::Go)?;
        self.until("the servers to listen", Course::do_servers_listen).await?;
        self.troupe.tell(|role| !role.is_server(), Cue::Go)?;
        self.goes_on(|show| show.course.is_complete(&show.told), scene::DEADLINE).await?;
        self.troupe.tell(|role| !role.is_server(), Cue::Stop)?;
        // What was missed until here is told. Now nothing is added to what has to be found.
        let stop = self.passed() + scene::GRACE;
        self.goes_on(|show| show.course.have_clients_stopped(), stop).await?;
        let end = self.passed() + scene::GRACE;
        self.goes_on(|show| show.course.is_complete(&show.told), end).await
    }

    /// Goes on until all of the players have come so far.
    async fn until(&mut self, what: &str, is: fn(&Course) -> bool) -> anyhow::Result<()> {
        self.goes_on(|show| is(&show.course), scene::DEADLINE).await?;
        if is(&self.course) {
            return Ok(());
        }
        bail!("waited for {what} until {} s were over", scene::DEADLINE.as_secs());
    }

    /// Goes on until it is so, or so much time has passed.
    async fn goes_on(
        &mut self,
        is: impl Fn(&Self) -> bool,
        longest: Duration,
    ) -> anyhow::Result<()> {
        let mut look = interval(scene::LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !is(self) && self.passed() < longest {
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(event) => self.show(&event)?,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => bail!("the tracer has died; see the log above"),
                },
                report = self.troupe.report() => {
                    let (role, report) = report.context("all of the players have ended")?;
                    let news = self.course.take(role, report, self.passed());
                    self.say(news.map_err(anyhow::Error::msg)?)?;
                }
                _ = look.tick() => {
                    self.told = self.engine.handle().diagnosis(Asked::default()).await?;
                    let news = self.course.look(&self.told, self.passed());
                    if news.is_some() {
                        self.troupe.tell(|role| role == Role::Pricing, Cue::Hurry)?;
                    }
                    self.say(news)?;
                }
            }
        }
        Ok(())
    }

    /// How long it has been traced.
    fn passed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn show(&mut self, event: &Event) -> anyhow::Result<()> {
        if let Some(change) = self.excerpt.take(event).filter(|_| !self.json) {
            print::line(&text::watch::line(change, false, &self.style))?;
        }
        Ok(())
    }

    fn say(&self, news: Option<News>) -> anyhow::Result<()> {
        if let Some(news) = news.filter(|_| !self.json) {
            print::line(&text::demo::news(news, self.passed(), &self.style))?;
        }
        Ok(())
    }

    /// Says what this host does not let be seen.
    async fn reduced(&self) -> anyhow::Result<()> {
        let status = self.engine.handle().status().await?;
        let mut lost: Vec<_> = status.degradations.into_iter().map(|lost| lost.feature).collect();
        if status.segments.refused {
            lost.push("segments".to_owned());
        }
        if !lost.is_empty() {
            print::line(&text::demo::reduced(&lost, &self.style))?;
        }
        Ok(())
    }

    /// What it came to.
    async fn conclude(&self) -> anyhow::Result<ExitCode> {
        let judgement = Judgement::of(&self.told, self.course.facts());
        let seconds = self.called.elapsed().as_secs_f64();
        let good = judgement.is_good();
        if self.json {
            let (missing, diagnosis) = (judgement.missing(), &self.told);
            print::json(&Told { judgement: &judgement, missing, good, seconds, diagnosis })?;
        } else {
            print::line(&text::demo::left_out(self.excerpt.left_out(), &self.style))?;
            self.ladder().await?;
            print::line(&text::demo::command("diagnose --older-than 5s", &self.style))?;
            print::line(&text::diagnosis::diagnosis(&self.told, &self.style))?;
            print::line(&text::demo::check(&judgement, seconds, &self.style))?;
            print::line(&text::demo::next(&program(), &self.style))?;
        }
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
    }

    /// Shows one of the sockets that are not closed.
    async fn ladder(&self) -> anyhow::Result<()> {
        let [planted, ..] = PLANTED;
        let found = self.told.findings.iter().find(|found| planted.is_told_by(found));
        let evidence = found.and_then(|found| found.evidence.first());
        let Some(id) = evidence.and_then(|line| line.connections.first()) else { return Ok(()) };
        let Ok(number) = id.parse() else { return Ok(()) };
        if let Some(connection) = self.engine.handle().connection(number).await? {
            print::line(&text::demo::command(&format!("show {id}"), &self.style))?;
            print::line(&text::show::timeline(&connection, &self.style))?;
            print::line("")?;
        }
        Ok(())
    }
}

/// This program as it is best typed here.
fn program() -> String {
    let called = std::env::args_os().next().map(std::path::PathBuf::from).unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_default();
    called.strip_prefix(here).unwrap_or(&called).display().to_string()
}
