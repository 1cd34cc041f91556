//! What there is to set: one table, from which the fields of [`Config`], keys, variables, flags, defaults, ranges and refusals
//! come. The tables of docs/configuration.md are held to it by a test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::database_url::DatabaseUrl;
use super::given::{optional_path, path};
use super::public_url::PublicUrl;
use super::secrets::Hidden;
use super::values::{DatabasePromotions, LogFormat, nats_servers, networks, uris};

/// A setting: a field of [`Config`], a key of the config file, a variable and a flag.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The field's name.
    pub(crate) name: &'static str,
    /// What is taken for it.
    pub(crate) kind: Kind,
    /// What the help calls its value.
    pub(crate) value_name: &'static str,
    /// What the help says.
    pub(crate) help: &'static str,
}

/// What is taken for a setting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Text, to the letter.
    Text,
    /// The same, and nothing ever shows it. It has no flag: other users can read command lines.
    Secret,
    /// A path of any bytes.
    Path,
    /// An IP address and a port.
    Address,
    /// A URL by which this server is reached.
    Url,
    /// Where a PostgreSQL database is. As a flag it may hold no password: other users can read command lines.
    Database,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Switch,
    /// A list of texts, or one text in which commas part them.
    List,
    /// A whole number.
    Number(Range),
}

/// Which numbers are taken. The ends are far from what overflows anywhere, and from what a slip of the keyboard makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// The least.
    pub(crate) min: u64,
    /// The most.
    pub(crate) max: u64,
    /// What is counted.
    pub(crate) unit: &'static str,
}

impl Setting {
    /// What has to be given, as the end of a sentence that begins with the setting.
    pub(crate) fn asked(&self) -> String {
        match self.kind {
            Kind::Text | Kind::Secret => "must be text (in a config file: in quotes)".to_owned(),
            Kind::Path => "must be a path (in a config file: in quotes)".to_owned(),
            Kind::Address => "must be an address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned(),
            Kind::Url => "must be a URL such as https://example.com (in a config file: in quotes)".to_owned(),
            Kind::Database => "must be an address such as postgres://respoked@db.example.com/respoked".to_owned(),
            Kind::Word(words) => format!("must be {}", words.join(" or ")),
            Kind::Switch => "must be true or false".to_owned(),
            Kind::List => "must be a list of texts, or one text with commas between them".to_owned(),
            Kind::Number(Range { min, max, unit }) => format!("must be a whole number from {min} to {max} ({unit})"),
        }
    }

    /// The setting called `name`.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// The setting whose name is most like `name`, if one is like it at all.
    pub(crate) fn like(name: &str) -> Option<&'static Self> {
        /// Likeness from which on a slip is more probable than another meaning.
        const LIKENESS_MIN: f64 = 0.75;
        let likeness = |setting: &Self| strsim::normalized_damerau_levenshtein(setting.name, name);
        let nearest = SETTINGS.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
        (likeness(nearest) >= LIKENESS_MIN).then_some(nearest)
    }
}

/// A number in a range, and what the help calls it.
const fn number((min, max): (u64, u64), unit: &'static str) -> (Kind, &'static str) {
    let value_name = match unit.as_bytes() {
        b"seconds" => "SECONDS",
        b"days" => "DAYS",
        b"bytes" => "BYTES",
        _ => "N",
    };
    (Kind::Number(Range { min, max, unit }), value_name)
}

/// A hundred years: as good as for ever, and an instant that long ago or ahead is still one.
const FOR_EVER_SECS: u64 = 100 * 365 * 86_400;
const FOR_EVER_DAYS: u64 = 100 * 365;
/// More connections than one machine's addresses and memory can carry.
const CONNECTIONS: (u64, u64) = (1, 1_000_000);
/// What the limits of an app take too.
const RATE: (u64, u64) = (1, respoke_core::app::Rate::MAX as u64);
const TRILLION: u64 = 1_000_000_000_000;

/// Of each setting: its name and type, its default, what is taken for it and what the help calls that, and what the help says.
macro_rules! settings {
    ($($(#[$attribute:meta])* $name:ident: $type:ty = $default:expr, $kind:expr, $help:literal;)*) => {
        /// Every setting. A key that is not here is an error that names it.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[expect(clippy::doc_markdown, rustdoc::bare_urls, reason = "what is said of a field is what the help says")]
        pub struct Config {
            $(#[doc = $help] $(#[$attribute])* pub $name: $type,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Config {
            /// The names of the settings that differ from those of `other`.
            pub(crate) fn differing(&self, other: &Self) -> Vec<&'static str> {
                let all = [$((stringify!($name), self.$name != other.$name)),*];
                all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
            }
        }

        /// Every setting, in the order of the help.
        pub(crate) const SETTINGS: &[Setting] = &[$({
            let (kind, value_name) = $kind;
            Setting { name: stringify!($name), kind, value_name, help: $help }
        }),*];
    };
}

settings! {
    listen: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
        (Kind::Address, "ADDRESS:PORT"),
        "Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8080]";
    public_url: Option<PublicUrl> = None,
        (Kind::Url, "URL"),
        "URL by which others reach the server, such as https://example.com, for links and examples";
    #[serde(with = "path")]
    data: PathBuf = PathBuf::from("./respoked-data"),
        (Kind::Path, "FOLDER"),
        "Folder of the database; as a flag it puts aside what else names a PostgreSQL database [default: ./respoked-data]";
    database: Option<DatabaseUrl> = None,
        (Kind::Database, "URL"),
        "PostgreSQL database that keeps everything instead of the folder, such as postgres://user@host/name";
    #[serde(with = "optional_path")]
    database_file: Option<PathBuf> = None,
        (Kind::Path, "FILE"),
        "File that holds the address of the PostgreSQL database, which may then have a password in it";
    database_promotions: DatabasePromotions = DatabasePromotions::Noticed,
        (Kind::Word(&["noticed", "copy_taken", "unnoticed"]), "WORD"),
        "What is done when a PostgreSQL server takes another's place: noticed, copy_taken or unnoticed [default: noticed]";
    database_direct: Option<DatabaseUrl> = None,
        (Kind::Database, "URL"),
        "The same PostgreSQL database past every pooler, by which nodes wake each other";
    #[serde(deserialize_with = "nats_servers")]
    nats: Vec<String> = Vec::new(),
        (Kind::List, "URLS"),
        "NATS servers by which nodes talk, instead of PostgreSQL, such as nats://host:4222, separated by commas";
    #[serde(with = "optional_path")]
    nats_credentials: Option<PathBuf> = None,
        (Kind::Path, "FILE"),
        "File of credentials for NATS, as nsc writes it";
    #[serde(with = "optional_path")]
    nats_nkey: Option<PathBuf> = None,
        (Kind::Path, "FILE"),
        "File with the seed of a user's nkey for NATS";
    #[serde(with = "optional_path")]
    nats_root_cert: Option<PathBuf> = None,
        (Kind::Path, "FILE"),
        "PEM file with who is trusted to sign the certificates of NATS servers, which then need one";
    node_name: Option<String> = None,
        (Kind::Text, "NAME"),
        "What operators call this node among those that serve from one PostgreSQL database, instead of the machine's name";
    isolation_secs: u64 = 60,
        number((0, 86_400), "seconds"),
        "Seconds without the PostgreSQL database after which sockets are closed; 0 keeps them [default: 60]";
    #[serde(with = "optional_path")]
    tls_cert: Option<PathBuf> = None,
        (Kind::Path, "FILE"),
        "PEM file with the certificate chain; with --tls-key it switches TLS on";
    #[serde(with = "optional_path")]
    tls_key: Option<PathBuf> = None,
        (Kind::Path, "FILE"),
        "PEM file with the private key";
    #[serde(deserialize_with = "networks")]
    trusted_proxies: Vec<IpNet> = Vec::new(),
        (Kind::List, "NETWORKS"),
        "Networks whose X-Forwarded-For is believed, separated by commas";
    admin_username: Option<String> = None,
        (Kind::Text, "NAME"),
        "User name of the admin made at the first start";
    admin_password: Option<Hidden> = None,
        (Kind::Secret, ""),
        "Password of the admin made at the first start; one is made up otherwise";
    #[serde(with = "optional_path")]
    admin_password_file: Option<PathBuf> = None,
        (Kind::Path, "FILE"),
        "File that holds the password of the admin made at the first start";
    log: String = "info".to_owned(),
        (Kind::Text, "FILTER"),
        "What is logged: a level, or a list of module=level [default: info]";
    log_format: LogFormat = LogFormat::Text,
        (Kind::Word(&["text", "json"]), "FORMAT"),
        "How log lines are written: text or json [default: text]";
    /// The core that `0` leaves free is for the storage thread.
    io_threads: usize = 0,
        number((0, 512), "threads"),
        "Threads that serve requests; 0 takes one less than there are cores [default: 0]";
    connections_max: usize = 12_000,
        number(CONNECTIONS, "connections"),
        "Connections open at once";
    connections_per_address_max: usize = 2_000,
        number(CONNECTIONS, "connections"),
        "Connections that one address may have open at once";
    sockets_per_address_max: usize = 2_000,
        number(CONNECTIONS, "sockets"),
        "Sockets that one address may have open at once, whether a websocket or polled";
    unread_bytes_max: usize = 64 << 20,
        number((1 << 20, 1 << 40), "bytes"),
        "Bytes of answers that may be made and not be read";
    unread_bytes_per_caller_max: usize = 16 << 20,
        number((1 << 16, 1 << 40), "bytes"),
        "Bytes of answers that may be made and not be read by one endpoint, or one address of others";
    unread_bytes_per_connection_max: usize = 8 << 20,
        number((1 << 16, 1 << 40), "bytes"),
        "Bytes of answers that may be made and not be read on one connection";
    heartbeat_interval_secs: u64 = 25,
        number((1, 3_600), "seconds"),
        "Seconds between two heartbeats on a socket [default: 25]";
    heartbeat_timeout_secs: u64 = 60,
        number((2, 86_400), "seconds"),
        "Seconds that a socket's client may be silent [default: 60]";
    idle_frames_per_sec: u32 = 20,
        number((1, 1_000_000), "frames a second"),
        "Frames a second of one socket that are no requests [default: 20]";
    outbox_frames_max: usize = 1_000,
        number((1, 1_000_000), "frames"),
        "Frames that may wait for one socket";
    outbox_bytes_max: usize = 1 << 20,
        number((1, 1 << 30), "bytes"),
        "Bytes that may wait for one socket";
    write_timeout_secs: u64 = 10,
        number((1, 3_600), "seconds"),
        "Seconds that writing to a socket may make no progress";
    jsonp_polling: bool = false,
        (Kind::Switch, "BOOL"),
        "Whether sockets may be polled by scripts";
    drain_secs: u64 = 10,
        number((0, 86_400), "seconds"),
        "Seconds that running requests get to finish when the server stops";
    address_requests_per_second: u32 = 500,
        number(RATE, "requests a second"),
        "Requests a second that one address may make without a credential";
    address_requests_burst: u32 = 2_000,
        number(RATE, "requests"),
        "Requests that one address may make at once without a credential";
    failed_credentials_free: u32 = 200,
        number((0, 1_000_000), "attempts"),
        "Invalid tokenIds, tokens or secrets that one address may show before it is told to wait";
    commit_batch_max: usize = 0,
        number((0, 10_000), "operations"),
        "Operations that are committed together at most; 1 commits each by itself; 0 takes 32, and 128 in PostgreSQL";
    session_cache_max: usize = 100_000,
        number((0, 10_000_000), "sessions"),
        "Checked sessions that are remembered; 0 asks the database each time";
    retention_secs: u32 = 900,
        number((0, FOR_EVER_SECS), "seconds"),
        "Seconds for which spent tokens and ended sessions are kept";
    audit_days: u32 = 30,
        number((0, FOR_EVER_DAYS), "days"),
        "Days for which the audit log is kept";
    audit_rows_max: u64 = 5_000_000,
        number((0, TRILLION), "rows"),
        "Rows of the audit log; those beyond it are removed unless they tell of an administrative action";
    request_log_max: usize = 10_000,
        number((0, 1_000_000), "requests"),
        "Requests that the log of the last ones holds; 0 keeps none";
    history_days: u32 = 30,
        number((0, FOR_EVER_DAYS), "days"),
        "Days for which group messages are kept";
    kept_bytes_per_app_max: u64 = 1 << 30,
        number((1 << 20, TRILLION), "bytes"),
        "Bytes that one app keeps of what its clients say, unless it has a limit of its own";
    history_rows_per_group_max: u64 = 10_000,
        number((0, TRILLION), "messages"),
        "Messages that one group keeps at most";
    call_report_days: u32 = 30,
        number((0, FOR_EVER_DAYS), "days"),
        "Days for which call reports are kept";
    #[serde(deserialize_with = "uris")]
    turn_uris: Vec<String> = Vec::new(),
        (Kind::List, "URIS"),
        "TURN servers, separated by commas; with --turn-secret-file they relay media";
    turn_secret: Option<Hidden> = None,
        (Kind::Secret, ""),
        "The secret shared with the TURN servers";
    #[serde(with = "optional_path")]
    turn_secret_file: Option<PathBuf> = None,
        (Kind::Path, "FILE"),
        "File that holds the secret shared with the TURN servers";
    turn_ttl_secs: u32 = 86_400,
        number((1, FOR_EVER_SECS), "seconds"),
        "Seconds for which TURN credentials are good";
    #[serde(deserialize_with = "uris")]
    stun_uris: Vec<String> = Vec::new(),
        (Kind::List, "URIS"),
        "STUN servers for those who get no TURN credentials, separated by commas";
}
