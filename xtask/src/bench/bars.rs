//! Shares as bars, for people who would rather look than read.

use std::fmt::Write as _;

/// Characters of the whole.
const WIDTH: usize = 40;
/// A character in eighths: none to seven.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// A line for each name: a bar as long as its share of 1, and the share in percent.
pub(super) fn text(rows: &[(String, f64)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, share) in rows {
        let bar = bar(*share);
        let _ = writeln!(text, "{name:<width$}  {bar:<WIDTH$}  {:3.0} %", share * 100.0);
    }
    text
}

fn bar(share: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "0 to 8 × WIDTH"
    )]
    let eighths = (share.clamp(0.0, 1.0) * 8.0 * WIDTH as f64).round() as usize;
    let rest = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    format!("{}{rest}", "█".repeat(eighths / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        let full = "█".repeat(WIDTH);
        let half = format!("{}{}", "█".repeat(WIDTH / 2), " ".repeat(WIDTH / 2));
        let expected = format!("nothing  {full}  100 %\nhalf     {half}   50 %\n");
        assert_eq!(
            text(&[("nothing", 1.0), ("half", 0.5)].map(|(name, share)| (name.to_owned(), share))),
            expected
        );
        assert_eq!(bar(1.0 / 320.0), "▏");
        assert_eq!([bar(1.3), bar(-1.0), bar(f64::NAN)], [full, String::new(), String::new()]);
    }
}
