//! `cargo xtask cluster`: several nodes on this machine, as plain processes.

mod coturn;
mod haproxy;
mod node;
mod topology;
mod up;
mod waiting;

use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) use haproxy::{
    PACKAGE as HAPROXY_PACKAGE, PROGRAM as HAPROXY, apart_from_addresses, check_given as check_haproxy,
};

/// Several nodes on this machine.
#[derive(clap::Subcommand)]
pub(crate) enum Cluster {
    /// Starts PostgreSQL, coturn, nodes and HAProxy on free ports, says what to try, and takes all of it down on Ctrl-C.
    Up(up::UpArgs),
    /// Starts HAProxy alone before servers that run, and says where it listens. It ends with its standard input.
    #[command(hide = true)]
    Proxy(ProxyArgs),
}

/// What HAProxy stands before.
#[derive(clap::Args)]
pub(crate) struct ProxyArgs {
    /// Where its log goes.
    #[arg(long)]
    log: PathBuf,
    /// Addresses of the servers.
    #[arg(required = true)]
    servers: Vec<SocketAddr>,
}

impl Cluster {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Up(args) => up::run(args),
            Self::Proxy(args) => {
                let proxy = haproxy::Haproxy::start(&args.servers, &args.log)?;
                println!("proxy listening on http://{}", proxy.address());
                std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
                Ok(())
            }
        }
    }
}
