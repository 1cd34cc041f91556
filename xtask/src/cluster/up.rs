//! `cargo xtask cluster up`: starts everything, says what to try, and waits.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::node::Node;
use super::topology::{Carrier, Topology};
use crate::command::run_command;
use crate::programs::Programs;
use crate::rooms::root;

/// How often it looks whether a node ended.
const LOOK: Duration = Duration::from_millis(200);

/// What is started.
#[derive(clap::Args)]
pub(crate) struct UpArgs {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Has nodes talk over NATS, which is started too, and not over PostgreSQL.
    #[arg(long)]
    nats: bool,
    /// Nodes of a debug build, which is made faster and serves slower.
    #[arg(long)]
    debug: bool,
}

pub(super) fn run(args: &UpArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // From here on a Ctrl-C ends this in its order, while it starts, too.
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let binary = build(args.debug)?;
    let carrier = if args.nats { Carrier::Nats } else { Carrier::Postgres };
    let mut topology = Topology::start(&Programs::default(), &binary, args.nodes, carrier)?;
    println!("{}", what_to_try(&mut topology, &binary)?);
    let mut lines = lines();
    runtime.block_on(async {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                biased;
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                Some(()) = lines.recv() => start_again(topology.nodes()),
                _ = looks.tick() => tell_of_ends(topology.nodes())?,
            }
        }
        anyhow::Ok(())
    })?;
    println!("\ntaking everything down");
    topology.stop()
}

fn build(debug: bool) -> anyhow::Result<PathBuf> {
    let root = root()?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "-p", "respoked"]).current_dir(root);
    if !debug {
        cargo.arg("--release");
    }
    run_command(&mut cargo)?;
    // target/debug/xtask; this holds wherever the target folder is.
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).unwrap_or(root);
    Ok(target.join(if debug { "debug" } else { "release" }).join("respoked"))
}

/// Each line of standard input, until that ends.
fn lines() -> mpsc::Receiver<()> {
    // A second Enter while nodes start is one too many.
    let (tell, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            if tell.blocking_send(()).is_err() {
                return;
            }
        }
    });
    lines
}

fn tell_of_ends(nodes: &mut [Node]) -> anyhow::Result<()> {
    for node in nodes {
        if let Some(status) = node.ended()? {
            println!("{} ended ({status}). Enter starts it again.", node.name());
        }
    }
    Ok(())
}

fn start_again(nodes: &mut [Node]) {
    for node in nodes {
        match node.start_again() {
            Ok(true) => println!("{} runs again as process {}", node.name(), node.id()),
            Ok(false) => {}
            Err(error) => println!("{} could not be started again: {error:#}", node.name()),
        }
    }
}

fn what_to_try(topology: &mut Topology, binary: &Path) -> anyhow::Result<String> {
    let proxy = topology.proxy();
    let app = topology.first_app()?;
    let password = topology.password();
    let (password, secret, respoked) = (password.display(), app.secret.display(), binary.display());
    let mut text = String::new();
    writeln!(text, "\nAll of this is one server to its clients:\n")?;
    writeln!(text, "  proxy   {proxy}")?;
    for node in topology.nodes() {
        writeln!(
            text,
            "  {}  http://{}  process {}  {}",
            node.name(),
            node.address(),
            node.id(),
            node.log().display()
        )?;
    }
    writeln!(text, "  files   {}, with the logs; gone at the end", topology.folder().display())?;
    writeln!(text, "  database {}", topology.database())?;
    // Each is tried on a node of its own, where there are as many: one that was started again is another process.
    let processes: Vec<u32> = topology.nodes().iter().rev().map(Node::id).collect();
    let mut processes = processes.iter().cycle().copied();
    let mut next = || processes.next().unwrap_or(0);
    let (killed, stopped, drained) = (next(), next(), next());
    let role = app.role;
    write!(
        text,
        r#"
The console is {proxy}/console: admin, with the password in
  {password}

Mint a tokenId, and one more for bob; then let both talk in two tabs of {proxy}/try:
  curl -s {proxy}/v1/tokens -H "App-Secret: $(cat {secret})" -H 'Content-Type: application/json' -d '{{"endpointId":"alice","roleId":"{role}"}}'

Kill a node: its clients come back to another one, and whoever watched them hears of it once.
  kill -9 {killed}
Stop it for a while: it serves nothing on an old view when it goes on.
  kill -STOP {stopped}; sleep 15; kill -CONT {stopped}
Send its clients to the others first:
  kill -TERM {drained}
Sign in, and see which nodes there are:
  {respoked} login --server {proxy} --password-file {password}
  {respoked} node list --server {proxy}

Enter starts the nodes again that ended, and says as which processes. Ctrl-C takes everything down.
"#
    )?;
    Ok(text)
}
