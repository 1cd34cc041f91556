//! Makes text of strangers fit for a terminal: what could move the cursor or turn the direction of writing is escaped.

/// `text` without what could move a terminal's cursor or turn the direction of writing: endpoint ids, names and
/// reasons were typed by strangers.
pub(super) fn plain(text: &str) -> String {
    let harmful = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(harmful) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        if harmful(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
        plain
    })
}
