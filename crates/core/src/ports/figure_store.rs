//! The part of the store that holds figures over time.

use async_trait::async_trait;

use super::node::NodeId;
use super::store_error::StoreError;
use crate::clock::Timestamp;
use crate::figures::{Figures, Span};
use crate::id::AppId;

/// Figures over time.
#[async_trait]
pub trait FigureStore: Send + Sync {
    /// Adds what was counted from `at` on, of apps or, where no app is named, of the whole server, to every span that
    /// `at` lies in, and forgets spans that were kept long enough by then. `node` is who counted it, if others count as well:
    /// then each minute is kept, too ([`Span::kept`]).
    async fn add_figures(
        &self,
        node: Option<NodeId>,
        at: Timestamp,
        counted: Vec<(Option<AppId>, Figures)>,
    ) -> Result<(), StoreError>;
    /// What is kept of spans that began at `from` or later, oldest first. Spans in which nothing happened are left out.
    async fn figures_since(
        &self,
        span: Span,
        app: Option<AppId>,
        from: Timestamp,
    ) -> Result<Vec<(Timestamp, Figures)>, StoreError>;
}
