//! Which of several servers is taken, and whether an installation may leave it.

use respoke_core::ports::StoreError;
use tokio_postgres::Config;

use super::{CONNECT_TIMEOUT, Server};
use crate::postgres::{ASK_SERVER, LINEAGE, Lineage, Tls, each_server, keeps, stands};
use crate::transfer::contents::refused;

impl Server {
    /// Connects to the server that was promoted last, of those that the address names and that are there: one that was left
    /// behind may be back. If they do not tell, to the first of these.
    pub(super) async fn connect_to_the_newest(config: &Config, tls: &Tls) -> Result<Self, StoreError> {
        let (mut newest, mut why) = (None, refused("the database's address names no server"));
        for server in each_server(config) {
            let told = async {
                let server = Self::connect_to(server, tls.clone()).await?;
                let timeline = server.stands().await?.map_or(0, |lineage| lineage.timeline);
                Ok((timeline, server))
            };
            match told.await {
                Ok((timeline, server)) => {
                    if newest.as_ref().is_none_or(|(newest, _)| timeline > *newest) {
                        newest = Some((timeline, server));
                    }
                }
                Err(error) => why = error,
            }
        }
        newest.map(|(_, server)| server).ok_or(why)
    }

    /// Where it stands. None: it does not tell, and the transaction that is open, if one is, has failed.
    async fn stands(&self) -> Result<Option<Lineage>, StoreError> {
        let asking = async {
            match self.client.simple_query(ASK_SERVER).await {
                Err(error) if error.as_db_error().is_some() => Ok(None),
                told => told.map(|told| stands(&told)),
            }
        };
        self.answered(self.waits.look.min(CONNECT_TIMEOUT), asking).await
    }

    /// Fails, in the transaction in which an installation is to leave, if this is not the server on which the database was used
    /// last: where it goes, nobody would notice that some of what was committed may be missing. What does not tell where it stands
    /// is taken for that one.
    pub(in crate::transfer) async fn check_settled(&self) -> Result<(), StoreError> {
        let Some(settled) = self.meta(LINEAGE).await? else { return Ok(()) };
        self.batch("SAVEPOINT asked").await?;
        let Some(seen) = self.stands().await? else { return self.batch("ROLLBACK TO SAVEPOINT asked").await };
        match keeps(seen, &settled) {
            None => self.batch("RELEASE SAVEPOINT asked").await,
            Some(why) => Err(refused(why)),
        }
    }
}
