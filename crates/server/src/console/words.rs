//! Writes numbers, times and lengths of time as people say them, and reads the latter.

use maud::{Markup, html};
use respoke_core::clock::Timestamp;

const UNITS: [(u64, &str); 5] =
    [(86_400 * 365, "year"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];

/// An instant in relation to `now`, with the exact time behind it.
pub(super) fn when(at: Timestamp, now: Timestamp) -> Markup {
    let exact = at.to_iso();
    html! { time datetime=(exact) title=(exact) { (relation(at, now)) } }
}

/// An instant that may be none.
pub(super) fn when_or(at: Option<Timestamp>, now: Timestamp, none: &str) -> Markup {
    match at {
        Some(at) => when(at, now),
        None => html! { span.quiet { (none) } },
    }
}

fn relation(at: Timestamp, now: Timestamp) -> String {
    let secs = at.secs().saturating_sub(now.secs());
    if secs.abs() < 5 {
        return "just now".to_owned();
    }
    let length = length(secs.unsigned_abs());
    if secs > 0 { format!("in {length}") } else { format!("{length} ago") }
}

/// A length of time in its greatest unit.
pub(super) fn length(secs: u64) -> String {
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| secs >= *unit).unwrap_or((1, "second"));
    // Rounded: a session of a day ends in 24 hours right after it began, not in 23.
    let count = (secs + unit / 2) / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// A length of time as it is typed into a form, such as `1d` or `90s`.
pub(super) fn duration(secs: u64) -> String {
    for (unit, letter) in [(86_400, 'd'), (3_600, 'h'), (60, 'm')] {
        if secs > 0 && secs.is_multiple_of(unit) {
            return format!("{}{letter}", secs / unit);
        }
    }
    format!("{secs}s")
}

/// Reads what [`duration`] writes, and plain seconds.
pub(super) fn parse_duration(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A length of time that was measured.
pub(super) fn took(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

/// A number and what it counts.
pub(super) fn count(many: u64, one: &str) -> String {
    format!("{} {one}{}", number(many), if many == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_said_in_relation_to_now() {
        let now = Timestamp::from_secs(1_800_000_000);
        for (secs, said) in [
            (0, "just now"),
            (-4, "just now"),
            (-59, "59 seconds ago"),
            (-60, "1 minute ago"),
            (7_200, "in 2 hours"),
            (-86_400 * 400, "1 year ago"),
        ] {
            assert_eq!(relation(now.plus_secs(secs), now), said);
        }
        assert!(when(now, now).into_string().contains(r#"title="2027-01-15T08:00:00.000Z""#));
    }

    #[test]
    fn a_length_of_time_reads_back() {
        for (secs, typed) in [(0, "0s"), (90, "90s"), (300, "5m"), (7_200, "2h"), (86_400, "1d"), (86_401, "86401s")] {
            assert_eq!(duration(secs), typed);
            assert_eq!(parse_duration(typed), Some(secs));
        }
        assert_eq!(parse_duration(" 24 h "), Some(86_400));
        assert_eq!(parse_duration("3600"), Some(3_600));
        for wrong in ["", "h", "1w", "-5", "1.5h", "99999999999999999999", "999999999999999999d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_was_measured_is_rounded() {
        assert_eq!([took(7), took(1_250), took(2_390_000)], ["7 µs", "1.2 ms", "2.3 s"]);
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!([number(0), number(999), number(1_000), number(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((count(1, "session"), count(2_000, "session")), ("1 session".into(), "2,000 sessions".into()));
    }
}
