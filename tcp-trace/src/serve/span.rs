//! Spans of time as people write them: `60s`, `5m`, `1h30m`, `2d`, `1.5` (seconds).

use std::time::Duration;

/// What [`parse`] takes, for messages.
pub(crate) const ACCEPTED: &str = "a span of time such as 90 (seconds), 500ms, 60s, 5m, 1h30m, 2d";

/// The span that `text` means; `None` where it means none.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Duration::try_from_secs_f64(text.parse().ok()?).ok();
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(end);
        let part = unit(name.trim())?.checked_mul(number.parse().ok()?)?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    Some(total)
}

fn unit(name: &str) -> Option<Duration> {
    Some(match name {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" | "min" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        "d" => Duration::from_hours(24),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_spelling_means_what_it_says() {
        let rows = [
            ("60", 60_000),
            ("0", 0),
            ("1.5", 1_500),
            ("60s", 60_000),
            ("5m", 300_000),
            ("5min", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2d", 172_800_000),
            ("250ms", 250),
            (" 7s ", 7_000),
        ];
        for (text, millis) in rows {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text:?}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "s", "5x", "-5", "1.2.3", ".", "1.5h", "h1", "9999999999d", "1e9", "inf", "5m3"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn nor_is_one_of_its_own_letters(text in "[0-9.hmsd ]{0,40}") {
            let _ = parse(&text);
        }
    }
}
