//! What is logged, as a setting says it.

use anyhow::Context as _;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The library that talks with NATS.
const NATS: &str = "async_nats";

/// The filter that a text asks for. The text is not shown, as no setting's value is.
pub(crate) fn filter(log: &str) -> anyhow::Result<EnvFilter> {
    // What has no level in it is a module's name to the library, and takes the log away from all others: a level with a
    // slip in it would.
    let is_one = |part: &str| !part.trim().contains(char::is_whitespace);
    let has_level = |part: &str| is_one(part) && (part.contains('=') || part.trim().parse::<LevelFilter>().is_ok());
    let parts = log.split(',').filter(|part| !part.trim().is_empty());
    // While NATS is away its library says so once a second, beside the server's own line. Whoever names it is told.
    let asked = if log.contains(NATS) { log.to_owned() } else { format!("{NATS}=off,{log}") };
    let filter = parts.clone().all(has_level).then(|| EnvFilter::try_new(asked).ok()).flatten();
    filter.filter(|_| parts.count() > 0).context("log must be a level, or a list of module=level")
}

/// Whether a text is a filter.
pub(crate) fn is_filter(log: &str) -> bool {
    filter(log).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_known_and_not_shown() {
        for sound in ["info", "WARN", "off", "respoked=debug,hyper=warn", "info,respoked::run=trace"] {
            assert!(is_filter(sound), "{sound}");
        }
        for slip in ["inof", "warn,inof", "respoked", "info respoked=debug", "x=inof", "", " , "] {
            assert!(!is_filter(slip), "{slip}");
        }
        let shown = |log| filter(log).unwrap().to_string();
        assert_eq!(shown("info"), "async_nats=off,info", "it says nothing that the server does not");
        assert_eq!(shown("info,async_nats=debug"), "async_nats=debug,info", "unless it is asked");
        let error = format!("{:#}", filter("CANARY=loud=").unwrap_err());
        assert!(error.contains("log must be") && !error.contains("CANARY"), "{error}");
    }
}
