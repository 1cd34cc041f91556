//! What `/metrics` says about commits.

use std::net::SocketAddr;

use super::client::{Body, Client, Request};

/// How many transactions were committed, and how many operations they held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Commits {
    pub(crate) commits: f64,
    pub(crate) operations: f64,
}

impl Commits {
    /// Finds the histogram of commit sizes in Prometheus text: its name says `commit` and what it counts.
    ///
    /// By pattern and not by one name, so that the benchmark also runs against older and newer servers.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, operations) = text.lines().find_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let name = series.split('{').next()?.strip_suffix("_sum")?;
            let of_sizes = ["operations", "size", "batch"].iter().any(|word| name.contains(word));
            (name.contains("commit") && of_sizes).then(|| Some((name.to_owned(), value.parse().ok()?)))?
        })?;
        let count = text.lines().find_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let of = series.split('{').next()?.strip_suffix("_count")?;
            (of == name).then(|| value.parse().ok())?
        })?;
        Some(Self { commits: count, operations })
    }

    /// What the server there counts, if it does.
    pub(crate) fn of(server: SocketAddr) -> anyhow::Result<Option<Self>> {
        let ask = Request { method: "GET", path: "/metrics", credential: None, body: Body::None };
        let text = Client::connect(server)?.call(&ask)?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    /// What happened between `earlier` and this.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { commits: self.commits - earlier.commits, operations: self.operations - earlier.operations }
    }

    /// Operations per commit.
    pub(crate) fn size_mean(self) -> f64 {
        self.operations / self.commits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_found_and_durations_are_not() {
        let text = "# TYPE respoked_commit_seconds histogram\n\
            respoked_commit_seconds_sum 1.5\n\
            respoked_commit_seconds_count 100\n\
            # TYPE respoked_commit_operations histogram\n\
            respoked_commit_operations_sum 3200.0\n\
            respoked_commit_operations_count 100\n\
            respoked_commit_operations_bucket{le=\"1.0\"} 3\n# EOF\n";
        let commits = Commits::parse(text).unwrap();
        assert_eq!(commits, Commits { commits: 100.0, operations: 3200.0 });
        let earlier = Commits { commits: 60.0, operations: 2400.0 };
        assert_eq!(commits.since(earlier).size_mean().to_string(), "20");
        assert_eq!(Commits::parse("up 1\n"), None);
    }
}
