//! Draws a QR code as SVG, for the second factor's secret: no other server sees that, and the page needs no script.

use maud::{Markup, html};
use qrcode::{Color, EcLevel, QrCode};

/// Light squares around a code, without which readers do not find it.
///
/// # Source
///
/// ISO/IEC 18004 section 9.1.
const QUIET: usize = 4;

/// `text` as a QR code that is called `label`. None: it is too long for one.
pub(super) fn qr(text: &str, label: &str) -> Option<Markup> {
    // Read off a screen there is no dirt to mend.
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let side = code.width() + 2 * QUIET;
    Some(html! {
        svg.qr xmlns="http://www.w3.org/2000/svg" role="img" aria-label=(label) viewBox={ "0 0 " (side) " " (side) }
            shape-rendering="crispEdges" {
            // In dark mode, too, it is dark on light: not all readers know it otherwise.
            rect width=(side) height=(side) fill="#fff" {}
            path fill="#000" d=(dark(&code.to_colors(), code.width())) {}
        }
    })
}

/// The dark squares as a path of bars, one for each run in a row.
fn dark(squares: &[Color], width: usize) -> String {
    let mut bars = Vec::new();
    for (y, row) in squares.chunks(width).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(PartialEq::eq) {
            if run[0] == Color::Dark {
                let (x, y, length) = (x + QUIET, y + QUIET, run.len());
                bars.push(format!("M{x} {y}h{length}v1h-{length}z"));
            }
            x += run.len();
        }
    }
    bars.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The squares that a path makes dark, of `side` times `side`.
    fn drawn(path: &str, side: usize) -> Vec<Vec<bool>> {
        let mut squares = vec![vec![false; side]; side];
        for bar in path.split('M').skip(1) {
            let (at, rest) = bar.split_once('h').unwrap();
            let (x, y) = at.split_once(' ').unwrap();
            let (x, y): (usize, usize) = (x.parse().unwrap(), y.parse().unwrap());
            let (length, close) = rest.split_once('v').unwrap();
            assert_eq!(close, format!("1h-{length}z"));
            squares[y][x..x + length.parse::<usize>().unwrap()].fill(true);
        }
        squares
    }

    #[test]
    fn the_drawing_is_the_code_within_its_quiet_zone() {
        let text = "otpauth://totp/respoked:jo?secret=JBSWY3DPEHPK3PXP&issuer=respoked";
        let code = QrCode::with_error_correction_level(text, EcLevel::M).unwrap();
        let side = code.width() + 8;
        let squares = drawn(&dark(&code.to_colors(), code.width()), side);
        for (y, row) in squares.iter().enumerate() {
            for (x, dark) in row.iter().enumerate() {
                let inside = (4..side - 4).contains(&x) && (4..side - 4).contains(&y);
                assert_eq!(
                    *dark,
                    inside && code[(x - 4 * usize::from(inside), y - 4 * usize::from(inside))] == Color::Dark
                );
            }
        }
        // The mark in the corner: a frame of seven, and a light one within it.
        assert_eq!(squares[4][4..12], [true, true, true, true, true, true, true, false]);
        assert_eq!(squares[5][4..12], [true, false, false, false, false, false, true, false]);
    }

    #[test]
    fn a_code_has_a_name_and_nothing_inline() {
        let shown = qr("text", "A <picture>").unwrap().into_string();
        assert!(shown.contains(r#" role="img" aria-label="A &lt;picture&gt;" viewBox="0 0 29 29""#), "{shown}");
        assert!(!shown.contains("style=") && !shown.contains("<style"), "{shown}");
        assert!(qr(&"x".repeat(3_000), "").is_none());
    }
}
