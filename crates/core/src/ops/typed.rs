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

/// Notes what is wrong with a field.
pub(super) fn wrong(errors: &mut FieldErrors, field: &str, problem: &str) {
    errors.entry(field.to_owned()).or_default().push(format!("{field} {problem}."));
}
