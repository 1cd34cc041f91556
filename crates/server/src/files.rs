//! How many files the process may have open: each connection is one, and a system gives a program few by default.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that the server has open besides its connections.
const OWN: u64 = 100;

/// How many are needed for that many connections.
pub(crate) fn needed(connections_max: usize) -> u64 {
    connections_max as u64 + OWN
}

/// Takes as many as the system lets the process take, and says so in the log if they are too few.
pub(crate) fn take(connections_max: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let limit = if raised { maximum } else { current };
    let needed = needed(connections_max);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            connections_max,
            "too few open files are allowed for all connections: raise the hard limit (LimitNOFILE= in the service)"
        );
    }
}
