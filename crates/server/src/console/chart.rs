//! Draws the dashboard's figures over time as SVG, on the server.

use std::fmt::Write as _;

use maud::{Markup, html};

/// The drawing's own measures; it is stretched to its place.
const WIDTH: u64 = 600;
const HEIGHT: u64 = 100;
/// Room for the stroke above and below.
const MARGIN: u64 = 4;

/// One line.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    /// One a point in time, oldest first.
    pub(super) values: Vec<u64>,
    /// What stands beside the name: a sum, or the last value.
    pub(super) said: String,
}

/// A chart of up to three lines on one scale. `top` says the greatest value.
pub(super) fn chart(title: &str, lines: &[Line<'_>], since: &str, top: impl Fn(u64) -> String) -> Markup {
    let greatest = lines.iter().flat_map(|line| line.values.iter().copied()).max().unwrap_or_default();
    let said: Vec<_> = lines.iter().map(|line| format!("{} {}", line.name, line.said)).collect();
    html! {
        figure.card {
            h2 { (title) }
            ul.key { @for (at, line) in lines.iter().enumerate() {
                li class={ "s" (at) } { span { (line.name) " " strong { (line.said) } } }
            } }
            svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                aria-label={ (title) ", since " (since) ": " (said.join(", ")) ". At most " (top(greatest)) "." } {
                @for (at, line) in lines.iter().enumerate() {
                    polyline class={ "s" (at) } points=(points(&line.values, greatest)) {}
                }
            }
            p.axis { span { (since) } span { "at most " (top(greatest)) } span { "now" } }
        }
    }
}

/// The corners of a line whose scale ends at `greatest`.
fn points(values: &[u64], greatest: u64) -> String {
    let steps = (values.len() as u64).saturating_sub(1).max(1);
    let mut text = String::with_capacity(values.len() * 8);
    for (at, value) in (0_u64..).zip(values) {
        let x = WIDTH * at / steps;
        // In 128 bits: figures may be large.
        let rise = u128::from(HEIGHT - 2 * MARGIN) * u128::from(*value) / u128::from(greatest.max(1));
        let y = HEIGHT - MARGIN - u64::try_from(rise).unwrap_or(HEIGHT).min(HEIGHT - 2 * MARGIN);
        // Writing to a string cannot fail.
        let _ = write!(text, "{x},{y} ");
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fills_its_place() {
        assert_eq!(points(&[0, 5, 10], 10), "0,96 300,50 600,4");
        assert_eq!(points(&[0, 0], 0), "0,96 600,96");
        assert_eq!(points(&[u64::MAX], u64::MAX), "0,4");
        assert_eq!(points(&[], 0), "");
    }

    #[test]
    fn a_chart_says_in_words_what_it_shows() {
        let line = Line { name: "minted", values: vec![1, 2], said: "3".into() };
        let shown = chart("Tokens", &[line], "<1h>", |top| top.to_string()).into_string();
        assert!(shown.contains("aria-label=\"Tokens, since &lt;1h&gt;: minted 3. At most 2.\""), "{shown}");
        assert!(!shown.contains("style="));
    }
}
