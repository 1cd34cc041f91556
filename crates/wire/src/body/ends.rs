//! What requests that end or delete something take besides their path.
//!
//! Like all that such requests take, these know their fields and refuse any other: a slip of the pen must not end more
//! than was meant. Routes that existing clients call are not among them (section 1.6 of docs/protocol.md).

use serde::Deserialize;

/// Nothing at all.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The app it is in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InApp {
    /// The app; with an App-Secret its own by default, with an Admin-Token the account's only one.
    pub app_id: Option<String>,
}
