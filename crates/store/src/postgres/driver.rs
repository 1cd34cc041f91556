//! The task that drives a connection and has its socket, and how it is ended.
//!
//! A server that waits for a standby to confirm a commit does not look whether anybody is still there who asked. If the socket
//! were closed and another connection opened, one of its processes would be left behind, and again one every few seconds, until
//! it takes no connection any more.
//!
//! Invariant: a connection whose commit is not answered stays open, though nobody waits for it any more, and whoever has it
//! makes no other one meanwhile. It ends when the commit is answered, when the system notices that the other machine is gone,
//! when the database turns out to go on elsewhere, or with the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::failure::Failure;

/// What became of the task that drives a connection.
pub(super) type Driven = Result<(), tokio_postgres::Error>;

/// The task that drives a connection and has its socket. By itself it ends when the client is gone and all was answered.
pub(super) struct Driver {
    task: JoinHandle<Driven>,
    /// Whether nothing more can be done with the connection.
    pub(super) is_broken: AtomicBool,
    /// Whether somebody went away before a statement was answered.
    pub(super) is_left: AtomicBool,
    /// Whether a commit was asked for, and not answered yet.
    pub(super) is_committing: AtomicBool,
    /// Changes when the database goes on elsewhere, or the store ends.
    pub(super) moves: watch::Receiver<()>,
}

impl Driver {
    pub(super) const fn of(task: JoinHandle<Driven>, moves: watch::Receiver<()>) -> Self {
        Self {
            task,
            is_broken: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
            is_committing: AtomicBool::new(false),
            moves,
        }
    }

    /// Notes that a statement is waited for, until it is answered or nobody waits for it.
    pub(super) const fn asked(&self) -> Asked<'_> {
        Asked { driver: self, is_answered: false }
    }

    /// Closes the socket if answers may be outstanding, which the server might take any time to give.
    fn hang_up(&self) {
        if self.is_broken.load(Ordering::Relaxed) || self.is_left.load(Ordering::Relaxed) {
            self.task.abort();
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// A statement that is waited for.
pub(super) struct Asked<'a> {
    driver: &'a Driver,
    is_answered: bool,
}

impl Asked<'_> {
    /// It was answered, or given up with its connection.
    pub(super) fn end(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.driver.is_left.store(true, Ordering::Relaxed);
        }
    }
}

/// A connection that nobody uses any more, until its socket is closed.
pub(super) struct Closing {
    driver: Driver,
    /// How long answers are waited for, if no commit is among them.
    patience: Duration,
}

impl Closing {
    pub(super) fn of(driver: Driver, patience: Duration) -> Self {
        if !driver.is_committing.load(Ordering::Relaxed) {
            driver.hang_up();
        } else if !driver.task.is_finished() {
            tracing::warn!(
                "the database has not answered a commit in time: its connection is kept until it is answered, and no other \
                 one is made for it; the database may wait for a standby that is gone"
            );
        }
        Self { driver, patience }
    }

    /// Waits until it is closed.
    pub(super) async fn closed(mut self) {
        self.commit_answered().await;
        self.close().await;
    }

    /// Waits until it is closed, unless a commit is not answered: then this fails at once, as there may be no other one yet.
    pub(super) async fn closed_unless_committing(&mut self) -> Result<(), Failure> {
        if self.is_committing() {
            return Err(Failure::lost("a commit on the connection before is not answered yet"));
        }
        self.close().await;
        Ok(())
    }

    /// Whether a commit is not answered that is still waited for.
    pub(super) fn is_committing(&self) -> bool {
        // Who could tell of moves is there as long as the store.
        let has_moved = self.driver.moves.has_changed().unwrap_or(true);
        self.driver.is_committing.load(Ordering::Relaxed) && !has_moved && !self.driver.task.is_finished()
    }

    /// Waits until none is.
    pub(super) async fn commit_answered(&mut self) {
        if self.is_committing() {
            tokio::select! {
                _ = &mut self.driver.task => {}
                _ = self.driver.moves.changed() => {}
            }
        }
    }

    async fn close(&mut self) {
        if self.driver.task.is_finished() {
            return;
        }
        self.driver.hang_up();
        if tokio::time::timeout(self.patience, &mut self.driver.task).await.is_err() {
            self.driver.task.abort();
            // Of a task that was ended there is nothing to tell.
            let _ = (&mut self.driver.task).await;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::pin::pin;

    use super::*;
    use crate::postgres::connect::{Connection, Patience};
    use crate::postgres::connector::Connector;
    use crate::postgres::fake_server::{FakeServer, Said};

    /// A connection whose commit is given up, and is not answered.
    pub(in crate::postgres) async fn committing() -> (FakeServer, Connector, Connection) {
        let server = FakeServer::start(|sql| if sql == "COMMIT" { Said::Silence } else { Said::Done }).await;
        let commit = Duration::from_millis(1);
        let connector = server.connector(Patience { commit, ..Patience::default() });
        let connection = connector.connect().await.unwrap();
        connection.begin("").await.unwrap();
        assert!(matches!(connection.commit().await, Err(Failure::Unanswered)));
        (server, connector, connection)
    }

    #[tokio::test]
    async fn a_connection_stays_until_its_commit_is_answered_or_the_database_goes_on_elsewhere() {
        let (_server, connector, connection) = committing().await;
        let mut closing = connection.into_closing();
        assert!(matches!(closing.closed_unless_committing().await, Err(Failure::Lost(_))));
        assert!(!closing.driver.task.is_finished());
        let mut closed = pin!(closing.closed());
        assert!(tokio::time::timeout(Duration::ZERO, closed.as_mut()).await.is_err());
        connector.let_go();
        closed.await;

        let (_server, connector, connection) = committing().await;
        let mut closing = connection.into_closing();
        closing.closed_unless_committing().await.unwrap_err();
        connector.let_go();
        closing.closed_unless_committing().await.unwrap();
        assert!(closing.driver.task.is_finished());
    }

    #[tokio::test]
    async fn a_connection_whose_server_is_gone_is_over() {
        let (server, _connector, connection) = committing().await;
        let closed = connection.into_closing().closed();
        drop(server);
        closed.await;
    }
}
