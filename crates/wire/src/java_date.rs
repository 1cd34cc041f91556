//! Dates as Java's `Date.toString` writes them, `Tue Nov 24 18:29:47 GMT+00:00 2026`: what the Android client sends.
//!
//! # Source
//!
//! The format of `java.util.Date.toString`: `EEE MMM dd HH:mm:ss zzz yyyy`, always in English.

use respoke_core::clock::Timestamp;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

const MONTHS: [(&str, Month); 12] = [
    ("Jan", Month::January),
    ("Feb", Month::February),
    ("Mar", Month::March),
    ("Apr", Month::April),
    ("May", Month::May),
    ("Jun", Month::June),
    ("Jul", Month::July),
    ("Aug", Month::August),
    ("Sep", Month::September),
    ("Oct", Month::October),
    ("Nov", Month::November),
    ("Dec", Month::December),
];

/// Zones that Java calls by a name in English, in minutes east of UTC. Android mostly writes `GMT+01:00`. Of a name
/// that several zones have, the one with the most people stands here.
const ZONES: &[(&str, i32)] = &[
    ("UTC", 0),
    ("GMT", 0),
    ("UT", 0),
    ("Z", 0),
    ("WET", 0),
    ("WEST", 60),
    ("BST", 60),
    ("CET", 60),
    ("CEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("SAST", 120),
    ("MSK", 180),
    ("IST", 330),
    ("WIB", 420),
    ("HKT", 480),
    ("SGT", 480),
    ("AWST", 480),
    ("JST", 540),
    ("KST", 540),
    ("ACST", 570),
    ("ACDT", 630),
    ("AEST", 600),
    ("AEDT", 660),
    ("NZST", 720),
    ("NZDT", 780),
    ("NST", -210),
    ("NDT", -150),
    ("BRT", -180),
    ("ART", -180),
    ("AST", -240),
    ("ADT", -180),
    ("EST", -300),
    ("EDT", -240),
    ("CST", -360),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("AKST", -540),
    ("AKDT", -480),
    ("HST", -600),
];

/// Reads such a date; none: it is none, or of a zone that is not known by its name.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let mut parts = text.split_ascii_whitespace();
    let mut next = || parts.next();
    let (_weekday, month, day, clock, zone, year) = (next()?, next()?, next()?, next()?, next()?, next()?);
    if next().is_some() {
        return None;
    }
    let (_, month) = MONTHS.iter().find(|(name, _)| name.eq_ignore_ascii_case(month))?;
    let date = Date::from_calendar_date(number(year)?, *month, number(day)?).ok()?;
    let mut units = clock.split(':');
    let mut unit = || units.next().and_then(number);
    let time = Time::from_hms(unit()?, unit()?, unit()?).ok()?;
    if units.next().is_some() {
        return None;
    }
    let at = PrimitiveDateTime::new(date, time).assume_offset(offset(zone)?);
    Some(Timestamp::from_secs(at.unix_timestamp()))
}

/// Digits alone: `str::parse` would take a sign as well.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `GMT`, `GMT+01:00`, `+0100`, or a name.
fn offset(zone: &str) -> Option<UtcOffset> {
    if let Some((_, minutes)) = ZONES.iter().find(|(name, _)| name.eq_ignore_ascii_case(zone)) {
        return UtcOffset::from_whole_seconds(minutes * 60).ok();
    }
    let zone = zone.strip_prefix("GMT").or_else(|| zone.strip_prefix("UTC")).unwrap_or(zone);
    let (sign, rest) = match zone.as_bytes().first()? {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => return None,
    };
    let (hours, minutes): (i32, i32) = match rest.split_once(':') {
        Some((hours, minutes)) => (number(hours)?, number(minutes)?),
        None if rest.len() == 4 && rest.is_ascii() => (number(&rest[..2])?, number(&rest[2..])?),
        None if rest.len() <= 2 => (number(rest)?, 0),
        None => return None,
    };
    if hours > 18 || minutes > 59 {
        return None;
    }
    UtcOffset::from_whole_seconds(sign * (hours * 60 + minutes) * 60).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_zone_is_an_offset_or_a_name() {
        let at = Timestamp::parse("2026-11-24T18:29:47Z");
        for text in [
            "Tue Nov 24 18:29:47 GMT+00:00 2026",
            "Tue Nov 24 18:29:47 GMT 2026",
            "Tue Nov 24 18:29:47 UTC 2026",
            "Tue Nov 24 19:29:47 GMT+01:00 2026",
            "Tue Nov 24 19:29:47 CET 2026",
            "Tue Nov 24 23:59:47 GMT+0530 2026",
            "Tue Nov 24 23:59:47 IST 2026",
            "Tue Nov 24 10:29:47 PST 2026",
            "Tue Nov 24 10:29:47 GMT-08:00 2026",
            "Tue Nov 24 10:29:47 -08 2026",
            "Wed Nov 25 03:29:47 +09:00 2026",
        ] {
            assert_eq!(parse(text), at, "{text}");
        }
    }

    #[test]
    fn what_is_no_such_date_is_none() {
        for text in [
            "",
            "Tue Nov 24 18:29:47 2026",
            "Tue Nov 24 18:29:47 XYZ 2026",
            "Tue Nov 31 18:29:47 GMT 2026",
            "Tue Nov 24 24:29:47 GMT 2026",
            "Tue Nov 24 18:29 GMT 2026",
            "Tue Nov 24 18:29:47:01 GMT 2026",
            "Tue Nov 24 18:29:47 GMT+99:00 2026",
            "Tue Nov 24 18:29:47 GMT+ 2026",
            "Tue Nov 24 18:29:47 GMT 2026 x",
            "Tue Nov +4 18:29:47 GMT 2026",
            "Tue Nov 24 18:29:47 GMT+é1 2026",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn damaged_text_never_panics(
            head in "[A-Z][a-z]{2} [A-Z][a-z]{2} \\PC{0,4}",
            clock in "[0-9:é]{0,9}", zone in "(GMT)?[+-]?\\PC{0,6}", year in "\\PC{0,5}",
        ) {
            let _ = parse(&format!("{head} {clock} {zone} {year}"));
            let _ = parse(&format!("Tue Nov 24 18:29:47 {zone} 2026"));
        }
    }
}
