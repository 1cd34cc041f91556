//! Whether the database can be written.

use std::time::{Duration, Instant};

use respoke_core::ports::StoreError;
use tokio::sync::Mutex;

use crate::problem::Problem;

/// How long a commit may take before the server counts as not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what was found out is good.
const READY_FOR: Duration = Duration::from_secs(1);

/// What was found out lately about the database, so that many who ask cost it one commit a second.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Result<(), Problem>)>>);

impl Readiness {
    /// Whether the database could be written within the last second, or can be now, as `check` says.
    pub(crate) async fn find_out(&self, check: impl Future<Output = Result<(), StoreError>>) -> Result<(), Problem> {
        // Others wait here for what the first of them finds out.
        let mut found = self.0.lock().await;
        if let Some((at, result)) = &*found
            && at.elapsed() < READY_FOR
        {
            return result.clone();
        }
        let checked = tokio::time::timeout(READY_TIMEOUT, check).await;
        let result = checked.unwrap_or_else(|late| Err(StoreError::Unavailable(Box::new(late)))).map_err(Problem::from);
        *found = Some((Instant::now(), result.clone()));
        result
    }
}
