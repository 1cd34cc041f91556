//! Which database keeps the truth, and how it is opened: a SQLite file in the data folder, or a PostgreSQL database.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use respoke_bus::nats::NatsCredentials;
use respoke_core::chance::Chance;
use respoke_core::clock::Clock;
use respoke_core::ports::{NodeStore, Store};
use respoke_store::{
    CarrierOptions, Dsn, EndedLately, Moves, Options, PostgresOptions, PostgresSchema, PostgresStore, PostgresWriters,
    SqliteStore, WriterFigures,
};

use crate::cluster::{Among, Begin, Talk};
use crate::config::{Config, DatabaseUrl};
use crate::data_folder::{self, DATABASE, Lock};
use crate::trouble;

/// How long a start waits for a database that starts as well. Whoever starts both at once need not order them; who mistyped
/// the host is not kept long.
const REACHED_WITHIN: Duration = Duration::from_secs(10);

/// Which database keeps the truth.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    /// The SQLite file in this data folder.
    Folder(PathBuf),
    /// The PostgreSQL database there.
    Postgres(Box<Dsn>),
}

/// A database that a server has opened.
pub(crate) struct Taken {
    pub(crate) store: Arc<dyn Store>,
    /// Reads what its writer did.
    pub(crate) figures: Box<dyn Fn() -> WriterFigures + Send + Sync>,
    /// The data folder, if there is one.
    pub(crate) lock: Option<Lock>,
    /// What several nodes share, if they may be several.
    pub(crate) shared: Option<Shared>,
}

/// A database from which several nodes may serve.
pub(crate) struct Shared {
    nodes: Arc<dyn NodeStore>,
    options: PostgresOptions,
    moves: Option<Moves>,
}

impl Shared {
    /// Begins a life of this node, which listens at `address`.
    pub(crate) async fn join(
        self,
        config: &Config,
        address: SocketAddr,
        clock: &dyn Clock,
    ) -> anyhow::Result<Arc<Among>> {
        let talk = match config.nats_servers() {
            None => {
                let direct = config.database_direct.as_ref().map(|DatabaseUrl(address)| options_of(address, config));
                let (database, direct) = (self.options, direct.transpose()?);
                Talk::Postgres(Box::new(CarrierOptions { database, direct, moves: self.moves }))
            }
            Some(servers) => {
                let credentials = match (&config.nats_credentials, &config.nats_nkey) {
                    (Some(file), _) => Some(NatsCredentials::File(file.clone())),
                    (None, Some(file)) => Some(NatsCredentials::NkeySeed(file.clone())),
                    (None, None) => None,
                };
                let servers = servers.context("nats cannot be used")?;
                Talk::Nats { servers, credentials, root_certificate: config.nats_root_cert.clone() }
            }
        };
        Among::join(Begin {
            nodes: self.nodes,
            name: config.node_name(),
            address: address.to_string(),
            talk,
            clock,
            isolation: (config.isolation_secs > 0).then(|| Duration::from_secs(config.isolation_secs)),
        })
        .await
    }
}

impl Database {
    pub(crate) fn of(config: &Config) -> Self {
        match &config.database {
            Some(DatabaseUrl(address)) => Self::Postgres(Box::new(address.clone())),
            None => Self::Folder(config.data.clone()),
        }
    }

    /// Opens it for a server, which makes what is not there and migrates what is old. What an earlier life of the node had `ended` is ended
    /// again where a database lacks it.
    pub(crate) async fn take(
        &self,
        config: &Config,
        chance: Arc<dyn Chance>,
        ended: EndedLately,
    ) -> anyhow::Result<Taken> {
        match self {
            Self::Folder(folder) => take_folder(folder.clone(), config.commit_batch_max, chance).await,
            Self::Postgres(address) => {
                let mut options = options_of(address, config)?;
                if config.commit_batch_max > 0 {
                    options.commit_batch_max = config.commit_batch_max;
                }
                options.writers = PostgresWriters::OnTheirOwnThread;
                options.chance = chance;
                options.ended = ended;
                options.reached_within = REACHED_WITHIN;
                let carried = options.clone();
                let store = PostgresStore::open(options).await.with_context(|| cannot_be_opened(address))?;
                let store = Arc::new(store);
                let counted = Arc::downgrade(&store);
                let figures = move || counted.upgrade().map(|store| store.figures()).unwrap_or_default();
                let shared = Shared { nodes: store.clone(), options: carried, moves: store.moves() };
                Ok(Taken { store, figures: Box::new(figures), lock: None, shared: Some(shared) })
            }
        }
    }

    /// Opens it beside a server that may run: nothing is made and nothing migrated.
    pub(crate) async fn visit(&self, config: &Config) -> anyhow::Result<Arc<dyn Store>> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(DATABASE);
                let options = Options { beside_a_server: true, ..Options::default() };
                let store = SqliteStore::open(&path, options)
                    .map_err(|error| trouble::explained(error, folder))
                    .with_context(|| format!("the database {} cannot be opened", path.display()))?;
                Ok(Arc::new(store))
            }
            Self::Postgres(address) => {
                let mut options = options_of(address, config)?;
                options.schema = PostgresSchema::LeftAlone;
                let store = PostgresStore::open(options).await.with_context(|| cannot_be_opened(address))?;
                Ok(Arc::new(store))
            }
        }
    }
}

/// How a store there is opened.
pub(crate) fn options(address: &Dsn) -> anyhow::Result<PostgresOptions> {
    address.options().with_context(|| cannot_be_opened(address))
}

/// The same as the settings say.
fn options_of(address: &Dsn, config: &Config) -> anyhow::Result<PostgresOptions> {
    let mut options = options(address)?;
    options.promotions = config.database_promotions.into();
    Ok(options)
}

fn cannot_be_opened(address: &Dsn) -> String {
    format!("the database {address} cannot be opened")
}

async fn take_folder(folder: PathBuf, commit_batch_max: usize, chance: Arc<dyn Chance>) -> anyhow::Result<Taken> {
    data_folder::make(&folder)?;
    let lock = data_folder::lock(&folder)?;
    data_folder::check_files(&folder)?;
    data_folder::check_access(&folder)?;
    let database = folder.join(DATABASE);
    let mut options = Options { chance, ..Options::default() };
    if commit_batch_max > 0 {
        options.commit_batch_max = commit_batch_max;
    }
    // On a thread of its own: whoever waits for this may give up, and the process may end, at any moment of it.
    let path = database.clone();
    let store = tokio::task::spawn_blocking(move || SqliteStore::open(&path, options))
        .await?
        .map_err(|error| trouble::explained(error, &folder))
        .with_context(|| format!("the database {} cannot be opened", database.display()))?;
    // Root may serve in a folder of somebody who is to serve there later.
    lock.hand_over(lock.keeper()?)?;
    let store = Arc::new(store);
    let counted = Arc::downgrade(&store);
    let figures = move || counted.upgrade().map(|store| store.figures()).unwrap_or_default();
    Ok(Taken { store, figures: Box::new(figures), lock: Some(lock), shared: None })
}

#[cfg(test)]
mod tests {
    use respoke_store::Promotions;

    use super::*;
    use crate::config::DatabasePromotions;

    #[test]
    fn the_setting_says_what_is_done_about_promotions() {
        let address = Dsn::parse("postgres://respoked@127.0.0.1/respoked").unwrap();
        let chosen = |word: DatabasePromotions| {
            let config = Config { database_promotions: word, ..Config::default() };
            options_of(&address, &config).unwrap().promotions
        };
        assert_eq!(options_of(&address, &Config::default()).unwrap().promotions, Promotions::Noticed);
        assert_eq!(chosen(DatabasePromotions::CopyTaken), Promotions::NoticedAndCopyTaken);
        assert_eq!(chosen(DatabasePromotions::Unnoticed), Promotions::Unnoticed);
    }
}
