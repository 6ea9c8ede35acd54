//! The thread that keeps the packet programs on the interfaces that are wanted: it hears of what
//! changes in their network namespace, and holds whatever is attached.
//!
//! Attaching waits for the lock that all network configuration of the host shares, for which the
//! tracer cannot stop draining.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::{
    attach::{Hooks, Means},
    clsact,
    interfaces::{self, Interface},
    owner::Owner,
    policy,
    programs::Programs,
    route::{News, Route},
    scope::Scope,
    standing::{InterfaceStanding, Standing},
    wishes::Wishes,
};

/// Longest time from one look to the next: for what no news tell of, such as a filter that somebody
/// removed.
const LOOK: Duration = Duration::from_secs(5);
/// Shortest time: interfaces come in series.
const REST: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Longest wait for the first look.
const PATIENCE: Duration = Duration::from_secs(10);

/// The tracer's end. Dropping it takes everything off.
#[derive(Debug)]
pub(crate) struct Follower {
    standing: Standing,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: Arc<OwnedFd>,
    reports: mpsc::Receiver<Standing>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// One that attaches nothing.
    pub(crate) fn idle(standing: Standing) -> Self {
        Self { standing, running: None }
    }

    /// Attaches `programs` to the interfaces of `scope` that are wanted, and follows these. Returns
    /// after the first look; what fails is said in [`Follower::standing`].
    pub(crate) fn start(
        scope: Scope,
        programs: Programs,
        kernel: (u32, u32),
        wishes: Wishes,
    ) -> Self {
        let netns = Some(scope.inode);
        match begin(scope, Means { programs, kernel, wishes }) {
            Err(error) => {
                let why = format!("starting the thread that attaches failed: {error}");
                Self::idle(Standing { netns, ..Standing::impossible(why) })
            }
            Ok((stop, reports, thread)) => {
                let first = reports.recv_timeout(PATIENCE);
                let standing = first.unwrap_or_else(|_| Standing {
                    on: true,
                    netns,
                    reason: Some("attaching takes long".to_owned()),
                    ..Standing::default()
                });
                let thread = Some(thread);
                Self { standing, running: Some(Running { stop, reports, thread }) }
            }
        }
    }

    /// How it stands now.
    pub(crate) fn standing(&mut self) -> &Standing {
        if let Some(running) = &self.running {
            for report in running.reports.try_iter() {
                self.standing = report;
            }
        }
        &self.standing
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only a counter at its limit can fail this, and then it rings already.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Begun = (Arc<OwnedFd>, mpsc::Receiver<Standing>, JoinHandle<()>);

fn begin(scope: Scope, means: Means) -> io::Result<Begun> {
    let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, reports) = mpsc::channel();
    let theirs = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("segments".to_owned()).spawn(move || {
        let netns = Some(scope.inode);
        // Nobody may wait for a report any more.
        let report = |standing| drop(sender.send(standing));
        match Site::open(scope, means) {
            Err(error) => {
                let why = format!("asking for the interfaces (rtnetlink) failed: {error}");
                report(Standing { netns, ..Standing::impossible(why) });
            }
            Ok(mut site) => {
                site.stay(&theirs, report);
                site.leave();
            }
        }
    })?;
    Ok((stop, reports, thread))
}

/// By index and name: one that is called something else is another.
type All = BTreeMap<(u32, String), (Interface, Hooks)>;

/// The thread's own.
struct Site {
    scope: Scope,
    means: Means,
    /// Only of our own namespace: a socket would keep another alive.
    news: Option<News>,
    /// The interfaces with a default route, until news come or where none can.
    routes: Option<BTreeSet<u32>>,
    owner: Owner,
    hooks: All,
    standing: Standing,
}

impl Site {
    fn open(mut scope: Scope, means: Means) -> io::Result<Self> {
        // News first: what changes from now on is heard of.
        let news = if scope.is_own { Some(News::open()?) } else { None };
        let mut route = scope.within(Route::open)??;
        match clsact::remove_leftovers(&mut route) {
            Ok(0) => {}
            Ok(filters) => {
                tracing::info!(filters, "removed TC filters of a daemon that was killed");
            }
            Err(error) => tracing::warn!(%error, "TC filters could not be looked through"),
        }
        let (hooks, standing) = (BTreeMap::new(), Standing::default());
        let owner = Owner::claim()?;
        Ok(Self { scope, means, news, routes: None, owner, hooks, standing })
    }

    /// Looks, and looks again, until it is told to stop.
    fn stay(&mut self, stop: &OwnedFd, report: impl Fn(Standing)) {
        let mut reported = false;
        loop {
            let interfaces = self.look();
            if self.stand(interfaces) || !reported {
                reported = true;
                report(self.standing.clone());
            }
            if is_ready(&mut [PollFd::new(stop, PollFlags::IN)], &REST) || self.wait(stop) {
                return;
            }
        }
    }

    /// Waits until it is time for another look; true where it is time to stop.
    fn wait(&mut self, stop: &OwnedFd) -> bool {
        let begun = Instant::now();
        loop {
            let Some(left) = LOOK.checked_sub(begun.elapsed()) else { return false };
            let mut polled = vec![PollFd::new(stop, PollFlags::IN)];
            polled.extend(self.news.iter().map(|news| PollFd::new(news, PollFlags::IN)));
            is_ready(&mut polled, &Timespec::try_from(left).unwrap_or(REST));
            if polled.first().is_some_and(|stop| !stop.revents().is_empty()) {
                return true;
            }
            drop(polled);
            if self.news.as_mut().is_some_and(News::matters) {
                self.routes = None;
                return false;
            }
        }
    }

    /// Attaches to what is wanted and takes off what is not; how it stands then.
    fn look(&mut self) -> io::Result<Vec<InterfaceStanding>> {
        let Self { scope, means, owner, hooks, routes, .. } = self;
        if self.news.is_none() {
            *routes = None;
        }
        let looked = scope.within(|| look(means, owner, routes, hooks));
        if looked.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            // The namespace is no more, and nothing in it.
            hooks.clear();
        }
        looked?
    }

    /// Notes how it stands; whether that is different from before.
    fn stand(&mut self, interfaces: io::Result<Vec<InterfaceStanding>>) -> bool {
        let netns = Some(self.scope.inode);
        let standing = match interfaces {
            Ok(interfaces) => {
                self.tell(&interfaces);
                Standing { on: true, netns, interfaces, ..Standing::default() }
            }
            Err(error) => {
                let why = format!("the interfaces could not be looked at: {error}");
                if self.standing.reason.as_ref() != Some(&why) {
                    tracing::warn!(%error, "the interfaces could not be looked at");
                }
                // The next look may do better; what is attached stays.
                let attached = self.hooks.values().map(|(known, hooks)| hooks.standing(known));
                let interfaces = attached.collect();
                Standing { on: true, netns, interfaces, ..Standing::impossible(why) }
            }
        };
        let changed = standing != self.standing;
        self.standing = standing;
        changed
    }

    /// Writes to the log what is new.
    fn tell(&self, interfaces: &[InterfaceStanding]) {
        for row in interfaces.iter().filter(|row| !self.standing.interfaces.contains(row)) {
            let InterfaceStanding { name, why, refusals, .. } = row;
            let (ways, refused) = (row.ways(), refusals.join("; "));
            // What is not there has refused nothing.
            let refused = (!refused.is_empty()).then_some(refused);
            if row.is_whole() {
                tracing::info!(interface = name, ways, why, refused, "segments are looked at");
            } else if row.index == 0 {
                tracing::warn!(interface = name, "there is no such interface; it is waited for");
            } else {
                tracing::warn!(interface = name, ways, why, refused, "segments are missed");
            }
        }
        let is_there =
            |gone: &&InterfaceStanding| interfaces.iter().any(|row| row.name == gone.name);
        for gone in self.standing.interfaces.iter().filter(|gone| !is_there(gone)) {
            tracing::info!(interface = gone.name, "segments are no longer looked at");
        }
    }

    fn leave(self) {
        let Self { mut scope, hooks, .. } = self;
        let left = scope.within(move || {
            let mut route = Route::open()?;
            for (_, hooks) in hooks.into_values() {
                hooks.remove(&mut route);
            }
            io::Result::Ok(())
        });
        if let Err(error) = left.and_then(|left| left) {
            tracing::debug!(%error, "TC filters could not be removed");
        }
    }
}

/// One look, from inside the namespace.
fn look(
    means: &Means,
    owner: &Owner,
    routes: &mut Option<BTreeSet<u32>>,
    hooks: &mut All,
) -> io::Result<Vec<InterfaceStanding>> {
    let mut route = Route::open()?;
    let routes = match routes {
        Some(routes) => routes,
        None => routes.insert(interfaces::default_routes(&mut route)?),
    };
    let found = interfaces::interfaces(&mut route, routes)?;
    let wanted: BTreeMap<_, _> = found
        .iter()
        .filter(|interface| policy::is_wanted(interface, &means.wishes))
        .map(|interface| ((interface.index, interface.name.clone()), interface))
        .collect();
    let gone: Vec<_> = hooks.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
    for (_, hooks) in gone.iter().filter_map(|key| hooks.remove(key)) {
        hooks.remove(&mut route);
    }
    let mut rows = Vec::new();
    for (key, interface) in wanted {
        let (known, hooks) = hooks.entry(key).or_default();
        known.clone_from(interface);
        hooks.recheck(&mut route);
        if !hooks.standing(interface).is_whole() {
            hooks.complete(interface, means, &mut route, owner);
        }
        rows.push(hooks.standing(interface));
    }
    rows.extend(policy::missing(&found, &means.wishes).map(absent));
    Ok(rows)
}

/// Waits; whether anything is ready. A wait that is cut short is one that is over.
fn is_ready(polled: &mut [PollFd<'_>], longest: &Timespec) -> bool {
    poll(polled, Some(longest)).is_ok_and(|ready| ready > 0)
}

/// An interface that is asked for by name and not there.
pub(super) fn absent(name: &str) -> InterfaceStanding {
    InterfaceStanding {
        name: name.to_owned(),
        index: 0,
        ingress: None,
        egress: None,
        why: "there is no such interface yet; it is waited for".to_owned(),
        refusals: Vec::new(),
        programs: Vec::new(),
    }
}
