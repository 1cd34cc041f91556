//! Files that a node is given for NATS.

use std::path::Path;

use super::error::NatsError;

pub(super) fn read(path: &Path) -> Result<String, NatsError> {
    std::fs::read_to_string(path).map_err(|cause| NatsError::Unreadable { path: path.to_owned(), cause })
}
