//! What is checked of what people type, wherever they do.

use crate::refusal::FieldErrors;

/// Checks a name that people give to something.
pub(super) fn check_name(errors: &mut FieldErrors, name: &str) {
    let length = name.trim().chars().count();
    if !(1..=128).contains(&length) {
        wrong(errors, "name", "must be 1 to 128 characters long");
    } else if name.chars().any(char::is_control) {
        wrong(errors, "name", "must not contain control characters");
    }
}

/// Checks a text that people write to each other: any, as long as it [can be kept](can_be_kept).
pub(super) fn check_text(errors: &mut FieldErrors, field: &str, text: &str, chars_max: usize) {
    if text.chars().count() > chars_max {
        wrong(errors, field, &format!("must be at most {chars_max} characters long"));
    } else if !can_be_kept(text) {
        wrong(errors, field, "must not contain the character U+0000");
    }
}

/// Whether a text can be kept, or looked for, in every database: in a text PostgreSQL takes any character but U+0000. What is
/// looked for by another one is not there. (Names of groups may hold it: they are kept as bytes.)
pub(super) fn can_be_kept(text: &str) -> bool {
    !text.contains('\0')
}

/// Notes what is wrong with a field.
pub(super) fn wrong(errors: &mut FieldErrors, field: &str, problem: &str) {
    errors.entry(field.to_owned()).or_default().push(format!("{field} {problem}."));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_any_that_a_database_can_keep() {
        for (text, problem) in [
            ("", None),
            ("a\n\t☎", None),
            ("äöüß", None),
            ("äöüßé", Some("reason must be at most 4 characters long.")),
            ("a\0", Some("reason must not contain the character U+0000.")),
        ] {
            let mut errors = FieldErrors::new();
            check_text(&mut errors, "reason", text, 4);
            let said = errors.get("reason").and_then(|said| said.first()).map(String::as_str);
            assert_eq!(said, problem, "{text:?}");
        }
    }
}
