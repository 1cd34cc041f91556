//! `respoked serve`: makes flags of the settings, starts the server, and serves until it is told to stop.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::builder::ValueParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use respoke_core::chance::SystemChance;
use respoke_core::clock::{Clock, CorrectedClock};
use respoke_store::EndedLately;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;
use super::hang_up::{HangUp, Reload};
use super::output::Output;
use super::standard_output;
use crate::config::{self, Config, Kind, PLACES, SETTINGS};
use crate::run::{Ended, Prepared, Started};
use crate::{files, greeting, run, telemetry};

/// How long threads of the runtime may take to end when all else has.
const SHUTDOWN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// When another life of a node is tried to begin again.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// What `serve` and `config check` take.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Serve {
    /// TOML file with settings, as `RESPOKED_CONFIG` names it too.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// The settings as flags, one for each that is no secret. What is not given here comes from the environment, the file,
/// or the defaults.
///
/// They are taken as they are typed: the settings are read in one place, wherever they were given.
#[derive(Clone, Debug, Default)]
struct Flags(Vec<(&'static str, OsString)>);

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        const HEADING: &str = "Settings (also RESPOKED_* in the environment, or keys of the config file)";
        let open = SETTINGS.iter().filter(|setting| !matches!(setting.kind, Kind::Secret));
        open.fold(command, |command, setting| {
            let name = setting.name;
            // Nobody could tell which of two places is meant.
            let others = PLACES.into_iter().filter(|other| PLACES.contains(&name) && *other != name);
            command.arg(
                Arg::new(name)
                    .long(name.replace('_', "-"))
                    .value_name(setting.value_name)
                    .help(setting.help)
                    .help_heading(HEADING)
                    .value_parser(ValueParser::os_string())
                    .conflicts_with_all(others),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS {
            if let Ok(Some(value)) = matches.try_get_one::<OsString>(setting.name) {
                self.0.push((setting.name, value.clone()));
            }
        }
        Ok(())
    }
}

impl Serve {
    /// Whether nothing was given.
    pub(super) fn is_empty(&self) -> bool {
        self.config.is_none() && self.flags.0.is_empty()
    }

    /// The settings in effect.
    pub(super) fn settings(&self) -> Result<Config, Failure> {
        Ok(Config::load(self.config.as_deref(), &self.flags.0)?)
    }

    /// Serves until the process is told to stop.
    pub(super) fn run(&self, out: &mut Output<'_>) -> Result<(), Failure> {
        let mut config = self.settings()?;
        let log = telemetry::start(&config)?;
        let links = config::service_links();
        if !links.is_empty() {
            tracing::info!(variables = links.join(" "), "variables that Kubernetes set for a service are no settings");
        }
        files::take(config.connections_max);
        let runtime = runtime(config.io_threads)?;
        let served = runtime.block_on(async {
            // Asked for before the server says that it is ready: whoever reads that may stop it at once.
            let (stop, mut hang_up) = (stop_signal()?, HangUp::listen()?);
            let serve = self.clone();
            let settings = Arc::new(move || serve.settings());
            let mut reload = Reload { settings, config: config.clone(), log, certificate: None };
            let mut stop = Box::pin(stop);
            let (mut begun, ended) = (false, EndedLately::default());
            loop {
                let prepared = tokio::select! {
                    prepared = run::prepare_life(config.clone(), clock(), Arc::new(SystemChance), ended.clone()) => prepared,
                    () = &mut stop => {
                        tracing::info!("stopped before it served");
                        return Ok(());
                    }
                };
                let started = match prepared {
                    Ok(prepared) => greet(prepared, out).await,
                    Err(error) => Err(error.into()),
                };
                let started = match started {
                    Ok(started) => started,
                    // It served before: what stands in the way now is not what it was set up with.
                    Err(failure) if begun => {
                        tracing::error!(error = failure.text(), "another life of this node cannot begin yet");
                        if stop_within(&mut stop, AGAIN).await {
                            return Ok(());
                        }
                        continue;
                    }
                    Err(failure) => return Err(failure),
                };
                begun = true;
                // A life begins where the one before it was, though the system chose the port: clients and proxies know that one.
                config.listen = started.address;
                reload.certificate = started.certificate();
                let ended = tokio::select! {
                    ended = started.serve_until(&mut stop) => ended?,
                    () = reload.at_each(&mut hang_up) => Ended::Stopped,
                };
                if ended == Ended::Stopped {
                    break;
                }
                tracing::warn!("this node begins another life");
            }
            Ok(())
        });
        // What still waits for a disk that stands still must not keep the process.
        runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        served
    }
}

/// A clock that is corrected by the database of several nodes.
fn clock() -> Arc<dyn Clock> {
    Arc::new(CorrectedClock::default())
}

/// Waits so long. Whether the process was told to stop meanwhile.
async fn stop_within(stop: &mut (impl Future<Output = ()> + Unpin), within: std::time::Duration) -> bool {
    tokio::time::timeout(within, stop).await.is_ok()
}

/// Shows what is shown once, and keeps it only when that has worked: nobody could find it out afterwards.
async fn greet(prepared: Prepared, out: &mut Output<'_>) -> Result<Started, Failure> {
    let links = prepared.links();
    if let Some(first_run) = prepared.first_run() {
        // Who set the password can do without the rest.
        let leads = if prepared.password_was_set() { Ok(()) } else { standard_output::check() };
        let shown = leads
            .and_then(|()| greeting::print_first_run(first_run, &links.public, &mut out.writer()))
            .and_then(|()| standard_output::flush());
        if let Err(error) = shown {
            prepared.abandon().await;
            return Err(Failure::because(format!(
                "what the first start shows once could not be written to standard output: {error}; nothing of it was \
                 kept, and the next start shows it anew: give it a terminal, a file with room or a reader, or set the \
                 first admin's password (admin_password_file)"
            )));
        }
    }
    let started = prepared.keep().await?;
    // A server that starts again serves whether or not somebody looks.
    if let Err(error) = greeting::print_ready(&links, &mut out.writer()) {
        tracing::warn!(error = &error as &dyn std::error::Error, "standard output cannot be written to");
    }
    Ok(started)
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
    use crate::config::LogFormat;

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
    fn a_runtime_is_built_for_any_number_of_threads() {
        for threads in [0, 1, 3] {
            assert_eq!(runtime(threads).unwrap().block_on(async { 7 }), 7);
        }
    }
}
