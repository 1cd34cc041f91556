//! `respoked serve`.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use figment::value::{Dict, Value};
use respoke_core::clock::SystemClock;
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;
use super::output::Output;
use crate::config::{Config, LogFormat};
use crate::{files, greeting, run, telemetry};

/// What `serve` and `config check` take.
#[derive(Debug, Default, Args)]
pub(super) struct Serve {
    /// TOML file with settings.
    #[arg(long, env = "RESPOKED_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// The settings as flags. What is not given here comes from the environment, the file, or the defaults.
///
/// All but `admin_password` and `turn_secret`: other users can read command lines.
#[derive(Debug, Default, Args, Serialize)]
#[command(next_help_heading = "Settings (also RESPOKED_* in the environment, or keys of the config file)")]
struct Flags {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Folder of the database [default: ./respoked-data].
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,
    /// PEM file with the certificate chain; with --tls-key it switches TLS on.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<PathBuf>,
    /// Networks whose X-Forwarded-For is believed, separated by commas.
    #[arg(long, value_name = "NETWORKS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted_proxies: Option<String>,
    /// User name of the admin made at the first start.
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_username: Option<String>,
    /// File that holds the password of the admin made at the first start.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_password_file: Option<PathBuf>,
    /// What is logged: a level, or a list of module=level [default: info].
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
    /// How log lines are written: text or json [default: text].
    #[arg(long, value_name = "FORMAT", value_parser = log_format)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
    /// Threads that serve requests; 0 takes one less than there are cores [default: 0].
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    io_threads: Option<usize>,
    /// Connections open at once.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    connections_max: Option<usize>,
    /// Connections that one address may have open at once.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    connections_per_address_max: Option<usize>,
    /// Sockets that one address may have open at once, whether a websocket or polled.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets_per_address_max: Option<usize>,
    /// Seconds between two heartbeats on a socket [default: 25].
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_interval_secs: Option<u64>,
    /// Seconds that a socket's client may be silent [default: 60].
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_timeout_secs: Option<u64>,
    /// Frames that may wait for one socket.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox_frames_max: Option<usize>,
    /// Bytes that may wait for one socket.
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox_bytes_max: Option<usize>,
    /// Seconds that writing to a socket may make no progress.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    write_timeout_secs: Option<u64>,
    /// Whether sockets may be polled by scripts.
    #[arg(long, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    jsonp_polling: Option<bool>,
    /// Seconds that running requests get to finish when the server stops.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_secs: Option<u64>,
    /// Requests a second that one address may make without a credential.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    address_requests_per_second: Option<u32>,
    /// Requests that one address may make at once without a credential.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    address_requests_burst: Option<u32>,
    /// Invalid tokenIds, tokens or secrets that one address may show before it is told to wait.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_credentials_free: Option<u32>,
    /// Operations that are committed together at most; 1 commits each by itself.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    commit_batch_max: Option<usize>,
    /// Checked sessions that are remembered; 0 asks the database each time.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    session_cache_max: Option<usize>,
    /// Seconds for which spent tokens and ended sessions are kept.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_secs: Option<u32>,
    /// Days for which the audit log is kept.
    #[arg(long, value_name = "DAYS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_days: Option<u32>,
    /// Rows of the audit log; those beyond it are removed unless they tell of an administrative action.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_rows_max: Option<u64>,
    /// Requests that the log of the last ones holds; 0 keeps none.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    request_log_max: Option<usize>,
    /// Days for which group messages are kept.
    #[arg(long, value_name = "DAYS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    history_days: Option<u32>,
    /// Messages that one group keeps at most.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    history_rows_per_group_max: Option<u64>,
    /// Days for which call reports are kept.
    #[arg(long, value_name = "DAYS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    call_report_days: Option<u32>,
    /// TURN servers, separated by commas; with --turn-secret-file they relay media.
    #[arg(long, value_name = "URIS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_uris: Option<String>,
    /// File that holds the secret shared with the TURN servers.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_secret_file: Option<PathBuf>,
    /// Seconds for which TURN credentials are good.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_ttl_secs: Option<u32>,
    /// STUN servers for those who get no TURN credentials, separated by commas.
    #[arg(long, value_name = "URIS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    stun_uris: Option<String>,
}

fn log_format(text: &str) -> Result<LogFormat, &'static str> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("it is text or json"),
    }
}

impl Serve {
    /// The settings in effect.
    pub(super) fn settings(&self) -> Result<Config, Failure> {
        Ok(Config::load(self.config.as_deref(), &self.flags.to_dict()?)?)
    }

    /// Serves until the process is told to stop.
    pub(super) fn run(&self, out: &mut Output<'_>) -> Result<(), Failure> {
        let config = self.settings()?;
        telemetry::start(&config)?;
        files::take(config.connections_max);
        runtime(config.io_threads)?.block_on(async {
            // Asked for before the server says that it is ready: whoever reads that may stop it at once.
            let stop = stop_signal()?;
            let started = run::start(config, Arc::new(SystemClock)).await?;
            greeting::print(&started, &mut out.writer())?;
            started.serve_until(stop).await?;
            Ok(())
        })
    }
}

impl Flags {
    fn to_dict(&self) -> anyhow::Result<Dict> {
        let value = Value::serialize(self).context("the flags cannot be read")?;
        Ok(value.into_dict().unwrap_or_default())
    }
}

/// The runtime with `io_threads` threads; see [`Config::io_threads`].
fn runtime(io_threads: usize) -> anyhow::Result<Runtime> {
    let threads = match io_threads {
        0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1)),
        given => given,
    };
    let mut builder = if threads == 1 {
        // One thread needs no queues between threads; that is a few percent of a small request.
        tokio::runtime::Builder::new_current_thread()
    } else {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(threads);
        builder
    };
    builder.thread_name("respoked-io").enable_all().build().context("the runtime cannot be started")
}

/// Ends when the process gets SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    #[test]
    fn flags_become_settings() {
        let line = Line::parse_from([
            "x",
            "--listen",
            "127.0.0.1:0",
            "--data",
            "d",
            "--trusted-proxies",
            "10.0.0.0/8, ::1",
            "--log-format",
            "json",
            "--drain-secs",
            "3",
            "--io-threads",
            "2",
        ]);
        let config = line.serve.settings().unwrap();
        assert_eq!(config.listen.port(), 0);
        assert_eq!(config.data, PathBuf::from("d"));
        assert_eq!(config.trusted_proxies.len(), 2);
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!((config.drain_secs, config.io_threads), (3, 2));
    }

    #[test]
    fn every_setting_but_the_secrets_has_a_flag() {
        let settings = serde_json::to_value(Config::default()).unwrap();
        let open = |name: &&String| !["admin_password", "turn_secret"].contains(&name.as_str());
        let mut names: Vec<_> = settings.as_object().unwrap().keys().filter(open).cloned().collect();
        let command = Flags::augment_args(clap::Command::new("x"));
        let mut flags: Vec<_> = command.get_arguments().map(|argument| argument.get_id().to_string()).collect();
        names.sort();
        flags.sort();
        assert_eq!(flags, names);
    }

    #[test]
    fn a_runtime_is_built_for_any_number_of_threads() {
        for threads in [0, 1, 3] {
            assert_eq!(runtime(threads).unwrap().block_on(async { 7 }), 7);
        }
    }
}
