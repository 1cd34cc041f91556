//! What several commands take: an app, a JSON object from a file.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::super::failure::Failure;

/// Which app a command is about.
#[derive(Debug, Args)]
pub(in crate::cli) struct AppFlag {
    /// Id of the app; not needed while there is only one.
    #[arg(long = "app", value_name = "ID")]
    pub(super) app: Option<String>,
}

/// Reads a JSON object from a file, or from standard input if the file is called `-`.
pub(super) fn json_object(path: &PathBuf) -> Result<Value, Failure> {
    let text = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?
    } else {
        std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?
    };
    let value: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Failure::because(format!("{} holds no JSON object", path.display())))
    }
}
