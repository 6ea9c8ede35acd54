//! `demo`: the programme, what is said between the lines of the events, and what it came to.

use std::time::Duration;

use super::{
    page::Page,
    style::{Paint, Style},
    words,
};
use crate::demo::{
    course::News,
    judge::{Judgement, PLANTED},
    role::Role,
    scene,
};

/// Where the words stand, behind the names of the players.
const TEXT: usize = 16;
/// Where it stands what was found.
const FOUND: usize = 40;
/// Widest text: longer lines are hard to read, however wide the terminal.
const WIDEST: usize = 100;

fn page(style: &Style) -> Style {
    Style { width: style.width.min(WIDEST), ..style.clone() }
}

/// What is going to be played.
pub(crate) fn programme(style: &Style) -> String {
    let style = page(style);
    let mut page = Page::new(&style);
    let head = "A scene, played and traced live in a network namespace of its own; nothing else on \
                this host is touched. It takes some 20 seconds.";
    page.wrap(Paint::Bold, head, 0).newline().newline();
    let ports = format!(
        "opens a connection for each request and closes it first; it has {} local ports, and \
         tcp_tw_reuse=0 (on loopback Linux would reuse them)",
        scene::PORT_COUNT
    );
    let pool = format!("a healthy keep-alive pool of {}, as control", scene::POOL);
    for (role, does) in [
        (Role::ShopApi, "a server that forgets close()"),
        (Role::Reports, "one that stops reading"),
        (Role::LoginSvc, "one that stops accepting"),
        (Role::Pricing, ports.as_str()),
        (Role::Orders, pool.as_str()),
    ] {
        page.at(2).put(Paint::Plain, role.name()).at(TEXT).wrap(Paint::Plain, does, TEXT).newline();
    }
    page.finish() + "\n"
}

/// What cannot be hooked on this host, by its names.
pub(crate) fn reduced(features: &[String], style: &Style) -> String {
    let style = page(style);
    let mut page = Page::new(&style);
    let text = format!(
        "on this host without hooks for {}: 'tcp-trace doctor' says why, and what is done instead",
        features.join(", ")
    );
    page.put(Paint::Dim, "?").at(2).wrap(Paint::Dim, &text, 2);
    page.finish() + "\n"
}

/// What has just become known, so long after the beginning.
pub(crate) fn news(news: News, at: Duration, style: &Style) -> String {
    let style = page(style);
    let mut page = Page::new(&style);
    let (paint, says) = match news {
        News::Foretold(left) => (
            Paint::Yellow,
            format!("{} will have no local port left in about {left:.0} s", Role::Pricing),
        ),
        News::NoPort => {
            (Paint::Red, format!("{}: connect() fails with EADDRNOTAVAIL", Role::Pricing))
        }
    };
    let text = format!("··· after {:.0} s: {says} ···", at.as_secs_f64());
    page.wrap(paint, &text, 4);
    page.finish()
}

/// How many changes had no line.
pub(crate) fn left_out(count: u64, style: &Style) -> String {
    let mut page = Page::new(style);
    let text = format!("··· and {} of state ···", words::counted(count, "more change"));
    page.put(Paint::Dim, &text);
    page.finish() + "\n"
}

/// A command whose output follows.
pub(crate) fn command(arguments: &str, style: &Style) -> String {
    let mut page = Page::new(style);
    page.put(Paint::Dim, "$ ").put(Paint::Cyan, &format!("tcp-trace {arguments}"));
    page.finish()
}

/// What was planted against what was found.
pub(crate) fn check(judgement: &Judgement, seconds: f64, style: &Style) -> String {
    let style = page(style);
    let mut page = Page::new(&style);
    page.put(Paint::Bold, "PLANTED").at(FOUND).put(Paint::Bold, "FOUND").newline();
    for verdict in &judgement.planted {
        row(&mut page, (verdict.process, verdict.does), verdict.found, &verdict.says);
    }
    let raised = if judgement.unexpected.is_empty() {
        format!("nothing raised, and {} were replaced", words::count(judgement.pool_replaced))
    } else {
        judgement.unexpected.join(", ")
    };
    let control = (Role::Orders.name(), "is healthy: the control");
    row(&mut page, control, judgement.unexpected.is_empty(), &raised);
    page.newline();
    let found = judgement.planted.iter().filter(|verdict| verdict.found).count();
    let (paint, verdict) = match (found == PLANTED.len(), judgement.unexpected.is_empty()) {
        (true, true) => (Paint::Green, "All that was planted was found, and nothing else."),
        (true, false) => (Paint::Red, "All that was planted was found, and something else, too."),
        (false, _) => (Paint::Red, "Not all that was planted was found."),
    };
    page.wrap(paint, &format!("{verdict} It took {seconds:.0} s."), 0);
    "\n".to_owned() + &page.finish()
}

fn row(page: &mut Page<'_>, (process, does): (&str, &str), good: bool, says: &str) {
    let (sign, paint) = if good { ("✔", Paint::Green) } else { ("✖", Paint::Red) };
    page.put(Paint::Plain, process).at(TEXT - 2).put(Paint::Plain, does);
    page.at(FOUND).put(paint, sign).at(FOUND + 2).wrap(Paint::Plain, says, FOUND + 2).newline();
}

/// What to try on this host.
pub(crate) fn next(program: &str, style: &Style) -> String {
    let mut page = Page::new(style);
    page.put(Paint::Bold, "Next, on this host:").newline();
    let commands = [
        ("doctor", "what can be seen here"),
        ("diagnose --for 30s", "what is wrong here"),
        ("watch", "every state change"),
        ("list --state close_wait", "who waits for close()"),
        ("serve", "the daemon"),
    ];
    let typed = |command: &str| format!("sudo {program} {command}");
    let widest = commands.iter().map(|(command, _)| style.columns(&typed(command))).max();
    for (command, what) in commands {
        page.at(2).put(Paint::Cyan, &typed(command));
        let column = 2 + widest.unwrap_or(0) + 3;
        if page.fits(column, what) {
            page.at(column).put(Paint::Dim, what);
        }
        page.newline();
    }
    "\n".to_owned() + &page.finish()
}

/// That the scene goes on, and how to look at it.
pub(crate) fn kept(netns: &str, program: &str, style: &Style) -> String {
    let mut page = Page::new(style);
    let head =
        "The servers stay as they are until Ctrl-C. In another terminal, where no daemon runs:";
    page.put(Paint::Bold, head).newline();
    for command in ["diagnose --for 10s --older-than 5s", "list"] {
        let typed = format!("sudo {program} {command} --netns {netns}");
        page.at(2).put(Paint::Cyan, &typed).newline();
    }
    "\n".to_owned() + &page.finish()
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures, *};
    use crate::demo::judge::tests::{FACTS, complete};

    #[test]
    fn the_programme_names_everybody_that_matters() {
        let text = "\
A scene, played and traced live in a network namespace of its own; nothing else
on this host is touched. It takes some 20 seconds.

  shop-api      a server that forgets close()
  reports       one that stops reading
  login-svc     one that stops accepting
  pricing       opens a connection for each request and closes it first; it has
                200 local ports, and tcp_tw_reuse=0 (on loopback Linux would
                reuse them)
  orders        a healthy keep-alive pool of 6, as control
";
        assert_eq!(programme(&fixtures::plain(80)), text);
        assert!(programme(&fixtures::ascii(80)).is_ascii());
    }

    #[test]
    fn what_was_planted_stands_beside_what_was_found() {
        let good = Judgement::of(&complete(), FACTS);
        let text = "
PLANTED                                 FOUND
shop-api      forgets close()           ✔ not_closed: 30 sockets
reports       stops reading             ✔ not_read: 8 sockets
login-svc     stops accepting           ✔ not_accepted: 8 sockets
pricing       burns through its ports   ✔ foretold 8 s before connect() failed
pricing       until none is left        ✔ EADDRNOTAVAIL, each of the 10 times
orders        is healthy: the control   ✔ nothing raised, and 20 were replaced

All that was planted was found, and nothing else. It took 18 s.";
        assert_eq!(check(&good, 18.2, &fixtures::plain(80)), text);
    }

    #[test]
    fn what_was_missed_and_what_was_raised_besides_is_said() {
        let mut told = complete();
        told.findings[0].cause = Some("send_blocked".to_owned());
        told.findings[0].title = "A leak".to_owned();
        let text = check(&Judgement::of(&told, FACTS), 60.0, &fixtures::ascii(100));
        for line in [
            "shop-api      forgets close()           x not found",
            "orders        is healthy: the control   x A leak of shop-api",
            "Not all that was planted was found. It took 60 s.",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        told.findings[0].cause = Some("not_closed".to_owned());
        told.findings
            .push(crate::api::Finding { title: "Resets".to_owned(), ..told.findings[1].clone() });
        told.findings[5].kind = "reset_storm".to_owned();
        let text = check(&Judgement::of(&told, FACTS), 60.0, &fixtures::plain(100));
        assert!(text.contains("and something else, too") && text.contains("Resets"), "{text}");
    }

    #[test]
    fn the_commands_to_try_are_those_of_this_program() {
        let text = next("target/release/tcp-trace", &fixtures::plain(80));
        assert!(text.contains("  sudo target/release/tcp-trace diagnose --for 30s   "), "{text}");
        let text = kept("/proc/7/ns/net", "tcp-trace", &fixtures::plain(80));
        assert!(text.contains("sudo tcp-trace list --netns /proc/7/ns/net"), "{text}");
    }

    #[test]
    fn news_are_rounded() {
        let told = |what| news(what, Duration::from_millis(5_400), &fixtures::plain(100));
        assert_eq!(
            told(News::Foretold(8.3)),
            "··· after 5 s: pricing will have no local port left in about 8 s ···"
        );
        assert!(told(News::NoPort).contains("EADDRNOTAVAIL"));
    }
}
