//! The figures for people, beside what they should be.

use std::fmt::Write as _;

use super::{Crowd, Figures, Rest, Stream};

/// Microseconds for an event.
const EVENT_US: f64 = 0.5;
/// Resident bytes for a live connection, as state changes and calls tell of it.
const BYTES: f64 = 400.0;
/// Milliseconds for a scrape.
const SCRAPE_MS: f64 = 10.0;
/// Milliseconds until ready.
const READY_MS: f64 = 300.0;
/// Share of a processor at rest.
const IDLE: f64 = 0.001;

/// Everything, as Markdown.
pub(super) fn text(figures: &Figures) -> String {
    let mut text = format!(
        "| events | µs each | smallest - largest | events/s, one core | goal ≤ {EVENT_US} µs |\n\
         |---|---|---|---|---|\n"
    );
    text.extend(figures.streams.iter().map(stream));
    text.push('\n');
    text.push_str(&crowds_head());
    text.extend(figures.crowds.iter().map(crowd));
    for (mix, bytes) in &figures.closed {
        let _ = writeln!(text, "\nA closed connection that is kept, {mix}: {bytes:.0} bytes");
    }
    text.extend(figures.rest.iter().map(rest));
    text
}

fn crowds_head() -> String {
    format!(
        "| connections | bytes each | scrape, both formats | list | status | diagnose | goals: \
         ≤ {BYTES} bytes, ≤ {SCRAPE_MS} ms |\n|---|---|---|---|---|---|---|\n"
    )
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}

fn stream(stream: &Stream) -> String {
    let Stream { mix, event_us, .. } = stream;
    format!(
        "| {mix} | {:.2} | {:.2} - {:.2} | {:.0} | {} |\n",
        event_us.median,
        event_us.min,
        event_us.max,
        1e6 / event_us.median,
        verdict(event_us.median <= EVENT_US)
    )
}

fn crowd(crowd: &Crowd) -> String {
    let Crowd { mix, live, bytes, scrape_ms, list_ms, status_ms, diagnose_ms } = crowd;
    // A few connections take a page or none.
    let small = *live < 10_000;
    let size = if small { "-".to_owned() } else { format!("{bytes:.0}") };
    let reached = (small || *mix != "calls" || *bytes <= BYTES) && *scrape_ms <= SCRAPE_MS;
    format!(
        "| {live}, {mix} | {size} | {scrape_ms:.2} ms | {list_ms:.2} ms | {status_ms:.2} ms | \
         {diagnose_ms:.2} ms | {} |\n",
        verdict(reached)
    )
}

#[expect(clippy::cast_precision_loss, reason = "sizes of programs and maps")]
fn rest(rest: &Rest) -> String {
    let Rest { ready_ms, delay_ms, cpu, memory, maps, buffers, program, .. } = rest;
    let without = rest.without_snapshots().map_or_else(String::new, |share| {
        format!("| without snapshots | {:.3} % | |\n", share * 100.0)
    });
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "\n| at rest | | goal |\n|---|---|---|\n\
         | start to ready | {:.0} ms | ≤ {READY_MS} ms: {} |\n\
         | state change to `watch` | {:.1} ms ({:.1} - {:.1}) | |\n\
         | processor | {:.3} % | ≤ {:.1} %: {} |\n\
         {without}\
         | resident memory | {:.1} MiB | |\n\
         | maps in the kernel | {:.1} MiB | |\n\
         | perf buffers | {:.1} MiB | |\n\
         | program, stripped | {:.1} MiB | |\n",
        ready_ms.median,
        verdict(ready_ms.median <= READY_MS),
        delay_ms.median,
        delay_ms.min,
        delay_ms.max,
        cpu * 100.0,
        IDLE * 100.0,
        verdict(*cpu <= IDLE),
        mib(*memory),
        mib(*maps),
        mib(*buffers),
        mib(*program),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::super::statistics::Spread, *};

    #[test]
    fn what_is_missed_is_said() {
        let event_us = |median| Spread { median, min: 0.1, max: 2.0 };
        let of = |median| Stream {
            mix: "all",
            events: 1,
            event_us: event_us(median),
            held_back_ms: (30.0, 50.0),
        };
        assert_eq!(stream(&of(0.25)), "| all | 0.25 | 0.10 - 2.00 | 4000000 | reached |\n");
        assert!(stream(&of(0.75)).contains("MISSED"));
        let of = |bytes| Crowd {
            mix: "calls",
            live: 10_000,
            bytes,
            scrape_ms: 1.0,
            list_ms: 1.0,
            status_ms: 1.0,
            diagnose_ms: 1.0,
        };
        assert!(crowd(&of(401.0)).contains("MISSED") && crowd(&of(399.0)).contains("reached"));
    }
}
