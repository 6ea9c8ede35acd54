//! How connections are told now: step by step or in one record each, why, and since when.

use super::{Page, Paint, words};
use crate::api::Folding;

/// A line or two; nothing of a file whose connections were all told step by step.
pub(super) fn told(page: &mut Page<'_>, folding: &Folding) {
    let Some(text) = text(folding) else { return };
    let paint = if folding.refused.is_some() { Paint::Yellow } else { Paint::Plain };
    page.wrap(paint, &text, 2).newline();
    if folding.mode != "full" && folding.refused.is_none() {
        for whose in &folding.not_folded {
            page.wrap(Paint::Plain, &format!("not folded: {whose}"), 2).newline();
        }
    }
}

fn text(folding: &Folding) -> Option<String> {
    let Folding { mode, above, connections, seconds, .. } = folding;
    let so_far = match connections {
        0 => String::new(),
        connections => {
            let over = words::span(*seconds);
            format!("; {} told so in {over}", words::counted(*connections, "connection"))
        }
    };
    let (ago, above) = (words::span(folding.for_seconds), words::count(u64::from(*above)));
    let text = match (mode.as_str(), &folding.refused) {
        ("", _) if *connections == 0 => return None,
        ("", _) => {
            format!("folded: {} told in one record", words::counted(*connections, "connection"))
        }
        ("full", _) => "mode full: every step is told as it happens".to_owned(),
        (mode, Some(why)) => {
            format!(
                "mode {mode}, and every step is told as it happens: nothing can be folded ({why})"
            )
        }
        ("folded", _) => format!("mode folded: short connections are told in one record{so_far}"),
        (mode, _) if folding.folding => format!(
            "mode {mode}: short connections are told in one record since {ago} ago, for {}{so_far}",
            why(folding, &above)
        ),
        (mode, _) if *connections > 0 || folding.why.is_some() => format!(
            "mode {mode}: every step is told as it happens; until {ago} ago short connections were \
             told in one record, for {}{so_far}",
            why(folding, &above)
        ),
        (mode, _) => format!(
            "mode {mode}: every step is told as it happens; above {above} events a second, or when \
             records are lost or about to be, short connections are told in one record"
        ),
    };
    Some(text)
}

fn why(folding: &Folding, above: &str) -> String {
    match (folding.why.as_deref(), folding.events_per_second) {
        (_, Some(rate)) => format!("{} events a second (more than {above})", words::count(rate)),
        (Some("behind"), _) => "a buffer that was nearly full".to_owned(),
        (Some("loss"), _) => "records that were lost".to_owned(),
        (why, _) => why.unwrap_or("no reason known").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto() -> Folding {
        Folding { mode: "auto".to_owned(), above: 50_000, ..Folding::default() }
    }

    fn said(folding: &Folding) -> String {
        text(folding).unwrap_or_default()
    }

    #[test]
    fn each_standing_has_its_words() {
        assert_eq!(text(&Folding::default()), None);
        let file = Folding { connections: 3, ..Folding::default() };
        assert_eq!(said(&file), "folded: 3 connections told in one record");
        let calm = said(&auto());
        assert!(calm.starts_with("mode auto: every step is told as it happens; above 50,000"));
        let rate = Folding {
            folding: true,
            why: Some("rate".to_owned()),
            events_per_second: Some(61_234),
            for_seconds: 12.0,
            connections: 1_500,
            seconds: 12.0,
            ..auto()
        };
        assert_eq!(
            said(&rate),
            "mode auto: short connections are told in one record since 12 s ago, for 61,234 events a \
             second (more than 50,000); 1,500 connections told so in 12 s"
        );
        let after = Folding {
            folding: false,
            why: Some("loss".to_owned()),
            events_per_second: None,
            ..rate
        };
        assert_eq!(
            said(&after),
            "mode auto: every step is told as it happens; until 12 s ago short connections were told \
             in one record, for records that were lost; 1,500 connections told so in 12 s"
        );
        let refused = Folding { refused: Some("no map FOLDED".to_owned()), ..auto() };
        assert!(said(&refused).ends_with("nothing can be folded (no map FOLDED)"));
        let full = Folding { mode: "full".to_owned(), ..auto() };
        assert_eq!(said(&full), "mode full: every step is told as it happens");
    }
}
