//! How a task of the carrier comes to a connection, over and over.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use respoke_core::chance::Chance;
use tokio::time::Instant;

use super::super::connect::Connection;
use super::super::connector::Connector;
use super::super::failure::Failure;
use super::super::lineage::Moves;
use super::super::tries::part_of;

/// The pause before a connection is made anew: it doubles while none lasts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// After which a connection has lasted.
const LASTS: Duration = Duration::from_secs(5);

/// How often the log tells at most that the database refuses something.
const TOLD_EACH: Duration = Duration::from_secs(60);

/// Tells the log of statements that were refused, though not of each.
#[derive(Default)]
pub(super) struct Refused(Option<Instant>);

impl Refused {
    /// Notes that the database refused to do something.
    pub(super) fn note(&mut self, what: &str, failure: &Failure) {
        if self.0.is_none_or(|told| told.elapsed() >= TOLD_EACH) {
            let error: &dyn Error = failure;
            tracing::warn!(error, "the database refused to {what}");
            self.0 = Some(Instant::now());
        }
    }
}

/// The way to a database.
pub(super) struct Link {
    connector: Connector,
    /// Tells that the database goes on elsewhere.
    moves: Option<Moves>,
    chance: Arc<dyn Chance>,
    /// Before the next connection, the first excepted.
    pause: Duration,
    /// When the last one was made.
    made: Option<Instant>,
}

impl Link {
    pub(super) fn new(connector: Connector, moves: Option<Moves>, chance: Arc<dyn Chance>) -> Self {
        Self { connector, moves, chance, pause: PAUSE_MIN, made: None }
    }

    /// The error says that the connection may lead to a server that was left behind, and lives on.
    pub(super) fn stays(&self) -> Result<(), Failure> {
        match &self.moves {
            Some(moves) if moves.is_new() => Err(Failure::lost("the database goes on elsewhere, or may")),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn chance(&self) -> &dyn Chance {
        &*self.chance
    }

    /// A connection, once there is one: to the server that was promoted last.
    pub(super) async fn connect(&mut self) -> Connection {
        if self.made.is_some_and(|made| made.elapsed() > LASTS) {
            self.pause = PAUSE_MIN;
        }
        let (mut is_to_pause, mut is_told) = (self.made.is_some(), false);
        loop {
            if is_to_pause {
                tokio::time::sleep(part_of(self.pause, &*self.chance)).await;
                self.pause = (self.pause * 2).min(PAUSE_MAX);
            }
            is_to_pause = true;
            match Box::pin(self.reach()).await {
                Ok(connection) => {
                    if is_told {
                        tracing::info!("the database carries again what nodes tell each other");
                    }
                    self.made = Some(Instant::now());
                    return connection;
                }
                Err(failure) if !is_told => {
                    let error: &dyn Error = &failure;
                    tracing::warn!(error, "what nodes tell each other is not carried: it is tried again and again");
                    is_told = true;
                }
                Err(_) => {}
            }
        }
    }

    /// A connection to the server that was promoted last, of those that let it in. One that was left behind may be the only one that does.
    async fn reach(&mut self) -> Result<Connection, Failure> {
        let Some(moves) = &mut self.moves else { return self.connector.connect_to_the_newest().await };
        // Before it is looked where the database goes on.
        moves.note();
        let connection = self.connector.connect_to_the_newest().await?;
        moves.goes_on_at(connection.told_of_server().await?.lineage)?;
        Ok(connection)
    }

    /// Tells of a connection that is lost, by what the node does by it.
    pub(super) fn note_lost(what: &str, failure: &Failure) {
        let error: &dyn Error = failure;
        tracing::warn!(error, "the connection to the database was lost by which this node {what}; another one is made");
    }
}
