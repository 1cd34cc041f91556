//! Reads a form, or the query of an address, field by field.

use std::collections::{BTreeSet, HashMap};

use respoke_wire::form::{self, NotText};
use respoke_wire::input::DecodeError;

use crate::call::Call;
use crate::problem::Problem;

/// The fields of a form, in their order. It may hold passwords, so it is not printed.
#[derive(Default)]
pub(super) struct Form {
    fields: Vec<(String, String)>,
    /// Where the first of each name is: forms of roles have thousands of fields, and each is asked for.
    places: HashMap<String, usize>,
}

impl Form {
    /// The form that was sent.
    ///
    /// # Errors
    ///
    /// 400 if it is not UTF-8 text.
    pub(super) fn sent(call: &Call) -> Result<Self, Problem> {
        match form::pairs(call.body()) {
            Ok(_) => Ok(Self::parse(call.body())),
            Err(NotText) => Err(DecodeError::NotText.into()),
        }
    }

    /// Reads `application/x-www-form-urlencoded` text.
    pub(super) fn parse(text: &[u8]) -> Self {
        let fields: Vec<(String, String)> = form_urlencoded::parse(text).into_owned().collect();
        // Backwards, so that the first of a name stays.
        let places = fields.iter().enumerate().rev().map(|(place, (name, _))| (name.clone(), place)).collect();
        Self { fields, places }
    }

    /// A field as it came; empty if it did not.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.places.get(name).and_then(|place| self.fields.get(*place)).map_or("", |(_, value)| value)
    }

    /// A field without the space around it.
    pub(super) fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field that is not empty.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// Whether a switch is on, or a button was the one pressed.
    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The lines of a field that are not empty.
    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        self.raw(name).lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// The numbers `n` of all fields `{stem}.{n}.…`, in order.
    pub(super) fn rows(&self, stem: &str) -> BTreeSet<u32> {
        let number = |name: &str| name.strip_prefix(stem)?.strip_prefix('.')?.split('.').next()?.parse().ok();
        self.fields.iter().filter_map(|(name, _)| number(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_browsers_send_them() {
        let form =
            Form::parse(b"name=+a%26b+&on=&lines=x%0D%0A%0D%0A+y&rule.10.publish=on&rule.2.pattern=*&rules.3.x=");
        assert_eq!((form.raw("name"), form.text("name")), (" a&b ", "a&b"));
        assert_eq!((form.given("on"), form.has("on"), form.has("off")), (None, true, false));
        assert_eq!(form.lines("lines"), ["x", "y"]);
        assert_eq!(form.rows("rule").into_iter().collect::<Vec<_>>(), [2, 10]);
        assert_eq!(form.raw("absent"), "");
        assert_eq!(Form::parse(b"a=1&a=2").raw("a"), "1");
    }
}
