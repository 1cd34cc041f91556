//! Tasks of a writer whose connection was given up while its commit is not answered: they can write nothing until it is
//! (`driver.rs`). What waits is taken by the others; if there are none, it is taken and refused.

use tokio::sync::watch;

use crate::postgres::driver::Closing;
use crate::postgres::failure::Failure;

/// What one of the tasks knows.
pub(super) struct Stuck {
    /// The connection that it gave up, until that is closed.
    closing: Option<Closing>,
    /// Whether it is among those counted.
    is_counted: bool,
    /// How many of the tasks have one whose commit is not answered.
    number: watch::Sender<usize>,
    tasks: usize,
}

impl Clone for Stuck {
    /// What another one of the tasks knows, which has given nothing up.
    fn clone(&self) -> Self {
        Self { closing: None, is_counted: false, number: self.number.clone(), tasks: self.tasks }
    }
}

impl Stuck {
    /// For the first of so many tasks.
    pub(super) fn of(tasks: usize) -> Self {
        Self { closing: None, is_counted: false, number: watch::Sender::new(0), tasks }
    }

    /// Takes a connection that was given up.
    pub(super) fn put(&mut self, closing: Closing) {
        self.count(closing.is_committing());
        self.closing = Some(closing);
    }

    /// Waits until the connection that was given up is closed; fails at once while its commit is not answered.
    pub(super) async fn closed(&mut self) -> Result<(), Failure> {
        if let Some(closing) = &mut self.closing {
            closing.closed_unless_committing().await?;
            self.closing = None;
        }
        self.count(false);
        Ok(())
    }

    /// Waits until it may take what waits: it can write again, or none of the others can.
    pub(super) async fn may_take(&mut self) {
        let Some(closing) = &mut self.closing else { return };
        let mut number = self.number.subscribe();
        tokio::select! {
            biased;
            () = closing.commit_answered() => self.count(false),
            // Who changes the number is here.
            _ = number.wait_for(|number| *number >= self.tasks) => {}
        }
    }

    fn count(&mut self, is_counted: bool) {
        if is_counted != self.is_counted {
            self.is_counted = is_counted;
            self.number.send_modify(|number| if is_counted { *number += 1 } else { *number -= 1 });
        }
    }
}

impl Drop for Stuck {
    /// A task that is gone writes nothing either.
    fn drop(&mut self) {
        self.count(true);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::postgres::driver::tests::committing;

    async fn may_take(stuck: &mut Stuck) -> bool {
        tokio::time::timeout(Duration::ZERO, stuck.may_take()).await.is_ok()
    }

    #[tokio::test]
    async fn who_is_stuck_leaves_what_waits_to_those_who_are_not() {
        let mut one = Stuck::of(2);
        let mut other = one.clone();
        assert!(may_take(&mut one).await && may_take(&mut other).await);
        let (_server, connector, connection) = committing().await;
        one.put(connection.into_closing());
        assert!(!may_take(&mut one).await && may_take(&mut other).await);
        assert!(one.closed().await.is_err());
        // Somebody has to refuse what waits.
        let (_server, other_connector, connection) = committing().await;
        other.put(connection.into_closing());
        assert!(may_take(&mut one).await && may_take(&mut other).await);
        connector.let_go();
        assert!(may_take(&mut one).await && !may_take(&mut other).await);
        one.closed().await.unwrap();
        other_connector.let_go();
        other.closed().await.unwrap();
        assert!(may_take(&mut one).await && may_take(&mut other).await);
    }

    #[tokio::test]
    async fn nothing_is_left_to_a_task_that_is_gone() {
        let mut one = Stuck::of(2);
        let other = one.clone();
        let (_server, _connector, connection) = committing().await;
        one.put(connection.into_closing());
        assert!(!may_take(&mut one).await);
        drop(other);
        assert!(may_take(&mut one).await);
    }
}
