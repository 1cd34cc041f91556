//! Gives back what is remembered of those who came and went, long before a cache is full.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::state::Api;

/// Between two looks at everything that is remembered; a look takes some milliseconds.
const REST: Duration = Duration::from_secs(30);

/// Runs until `stop`.
pub(crate) async fn keep(api: Arc<Api>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(REST)).await.is_some() {
        let swept = api.clone();
        // A look at hundreds of thousands of entries is no matter for an I/O thread.
        let _ = tokio::task::spawn_blocking(move || swept.forget()).await;
    }
}
