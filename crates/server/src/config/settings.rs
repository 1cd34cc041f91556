//! What there is to set: one row for each setting, from which flags, readings, ranges and refusals come.

/// A setting: a field of [`Config`](super::Config), a key of the config file, a variable and a flag.
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

const fn setting(name: &'static str, kind: Kind, value_name: &'static str, help: &'static str) -> Setting {
    Setting { name, kind, value_name, help }
}

const fn number(name: &'static str, (min, max): (u64, u64), unit: &'static str, help: &'static str) -> Setting {
    let value_name = match unit.as_bytes() {
        b"seconds" => "SECONDS",
        b"days" => "DAYS",
        b"bytes" => "BYTES",
        _ => "N",
    };
    setting(name, Kind::Number(Range { min, max, unit }), value_name, help)
}

/// A hundred years: as good as for ever, and an instant that long ago or ahead is still one.
const FOR_EVER_SECS: u64 = 100 * 365 * 86_400;
const FOR_EVER_DAYS: u64 = 100 * 365;
/// More connections than one machine's addresses and memory can carry.
const CONNECTIONS: (u64, u64) = (1, 1_000_000);
/// What the limits of an app take too.
const RATE: (u64, u64) = (1, respoke_core::app::Rate::MAX as u64);
const TRILLION: u64 = 1_000_000_000_000;

/// Every setting, in the order of the help.
pub(crate) const SETTINGS: &[Setting] = &[
    setting(
        "listen",
        Kind::Address,
        "ADDRESS:PORT",
        "Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8080]",
    ),
    setting(
        "public_url",
        Kind::Url,
        "URL",
        "URL by which others reach the server, such as https://example.com, for links and examples",
    ),
    setting("data", Kind::Path, "FOLDER", "Folder of the database [default: ./respoked-data]"),
    setting("tls_cert", Kind::Path, "FILE", "PEM file with the certificate chain; with --tls-key it switches TLS on"),
    setting("tls_key", Kind::Path, "FILE", "PEM file with the private key"),
    setting(
        "trusted_proxies",
        Kind::List,
        "NETWORKS",
        "Networks whose X-Forwarded-For is believed, separated by commas",
    ),
    setting("admin_username", Kind::Text, "NAME", "User name of the admin made at the first start"),
    setting("admin_password", Kind::Secret, "", ""),
    setting(
        "admin_password_file",
        Kind::Path,
        "FILE",
        "File that holds the password of the admin made at the first start",
    ),
    setting("log", Kind::Text, "FILTER", "What is logged: a level, or a list of module=level [default: info]"),
    setting(
        "log_format",
        Kind::Word(&["text", "json"]),
        "FORMAT",
        "How log lines are written: text or json [default: text]",
    ),
    number(
        "io_threads",
        (0, 512),
        "threads",
        "Threads that serve requests; 0 takes one less than there are cores [default: 0]",
    ),
    number("connections_max", CONNECTIONS, "connections", "Connections open at once"),
    number(
        "connections_per_address_max",
        CONNECTIONS,
        "connections",
        "Connections that one address may have open at once",
    ),
    number(
        "sockets_per_address_max",
        CONNECTIONS,
        "sockets",
        "Sockets that one address may have open at once, whether a websocket or polled",
    ),
    number("unread_bytes_max", (1 << 20, 1 << 40), "bytes", "Bytes of answers that may be made and not be read"),
    number(
        "unread_bytes_per_caller_max",
        (1 << 16, 1 << 40),
        "bytes",
        "Bytes of answers that may be made and not be read by one endpoint, or one address of others",
    ),
    number(
        "unread_bytes_per_connection_max",
        (1 << 16, 1 << 40),
        "bytes",
        "Bytes of answers that may be made and not be read on one connection",
    ),
    number(
        "heartbeat_interval_secs",
        (1, 3_600),
        "seconds",
        "Seconds between two heartbeats on a socket [default: 25]",
    ),
    number(
        "heartbeat_timeout_secs",
        (2, 86_400),
        "seconds",
        "Seconds that a socket's client may be silent [default: 60]",
    ),
    number(
        "idle_frames_per_sec",
        (1, 1_000_000),
        "frames a second",
        "Frames a second of one socket that are no requests [default: 20]",
    ),
    number("outbox_frames_max", (1, 1_000_000), "frames", "Frames that may wait for one socket"),
    number("outbox_bytes_max", (1, 1 << 30), "bytes", "Bytes that may wait for one socket"),
    number("write_timeout_secs", (1, 3_600), "seconds", "Seconds that writing to a socket may make no progress"),
    setting("jsonp_polling", Kind::Switch, "BOOL", "Whether sockets may be polled by scripts"),
    number("drain_secs", (0, 86_400), "seconds", "Seconds that running requests get to finish when the server stops"),
    number(
        "address_requests_per_second",
        RATE,
        "requests a second",
        "Requests a second that one address may make without a credential",
    ),
    number(
        "address_requests_burst",
        RATE,
        "requests",
        "Requests that one address may make at once without a credential",
    ),
    number(
        "failed_credentials_free",
        (0, 1_000_000),
        "attempts",
        "Invalid tokenIds, tokens or secrets that one address may show before it is told to wait",
    ),
    number(
        "commit_batch_max",
        (1, 10_000),
        "operations",
        "Operations that are committed together at most; 1 commits each by itself",
    ),
    number(
        "session_cache_max",
        (0, 10_000_000),
        "sessions",
        "Checked sessions that are remembered; 0 asks the database each time",
    ),
    number(
        "retention_secs",
        (0, FOR_EVER_SECS),
        "seconds",
        "Seconds for which spent tokens and ended sessions are kept",
    ),
    number("audit_days", (0, FOR_EVER_DAYS), "days", "Days for which the audit log is kept"),
    number(
        "audit_rows_max",
        (0, TRILLION),
        "rows",
        "Rows of the audit log; those beyond it are removed unless they tell of an administrative action",
    ),
    number("request_log_max", (0, 1_000_000), "requests", "Requests that the log of the last ones holds; 0 keeps none"),
    number("history_days", (0, FOR_EVER_DAYS), "days", "Days for which group messages are kept"),
    number(
        "kept_bytes_per_app_max",
        (1 << 20, TRILLION),
        "bytes",
        "Bytes that one app keeps of what its clients say, unless it has a limit of its own",
    ),
    number("history_rows_per_group_max", (0, TRILLION), "messages", "Messages that one group keeps at most"),
    number("call_report_days", (0, FOR_EVER_DAYS), "days", "Days for which call reports are kept"),
    setting(
        "turn_uris",
        Kind::List,
        "URIS",
        "TURN servers, separated by commas; with --turn-secret-file they relay media",
    ),
    setting("turn_secret", Kind::Secret, "", ""),
    setting("turn_secret_file", Kind::Path, "FILE", "File that holds the secret shared with the TURN servers"),
    number("turn_ttl_secs", (1, FOR_EVER_SECS), "seconds", "Seconds for which TURN credentials are good"),
    setting("stun_uris", Kind::List, "URIS", "STUN servers for those who get no TURN credentials, separated by commas"),
];
