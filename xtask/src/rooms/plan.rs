//! The rooms of the server and which uses which: the picture in docs/architecture.md.

pub(super) const SERVER_SRC: &str = "crates/server/src";

/// Files of one subject.
pub(super) struct Room {
    pub(super) name: &'static str,
    /// Files, and folders with a slash at their end.
    pub(super) files: &'static [&'static str],
    /// The rooms it may name something of. All are planned below it, so that rooms make no circle.
    pub(super) uses: &'static [&'static str],
    /// Arrows that run back up, and are to go.
    pub(super) still: &'static [&'static str],
    /// What is in it.
    pub(super) is_for: &'static str,
}

impl Room {
    pub(super) fn holds(&self, file: &str) -> bool {
        self.files.iter().any(|held| is_held(held, file))
    }
}

/// Whether `file` is `held`, or in that folder.
pub(super) fn is_held(held: &str, file: &str) -> bool {
    if held.ends_with('/') { file.starts_with(held) } else { file == held }
}

pub(super) const SERVER: &[Room] = &[
    Room {
        name: "cli",
        files: &["lib.rs", "cli/"],
        uses: &["run", "refusal", "config", "machine"],
        still: &[],
        is_for: "the command line",
    },
    Room {
        name: "run",
        files: &["run.rs", "sweep.rs", "upkeep.rs"],
        uses: &["door", "socket", "api", "watch", "config", "transport", "limits", "metrics", "machine"],
        still: &[],
        is_for: "a server's start, its tasks and its end",
    },
    Room {
        name: "door",
        files: &["door.rs", "door/"],
        uses: &["socket", "console", "api", "call", "watch", "refusal", "transport", "limits"],
        still: &[],
        is_for: "what every HTTP request passes",
    },
    Room {
        name: "socket",
        files: &["socket/"],
        uses: &["api", "call", "refusal", "transport", "limits", "machine"],
        still: &["door"],
        is_for: "Socket.IO, as existing clients speak it",
    },
    Room {
        name: "console",
        files: &["console/"],
        uses: &["api", "call", "refusal", "limits"],
        still: &[],
        is_for: "the Dev Console's pages",
    },
    Room {
        name: "api",
        files: &["api/"],
        uses: &["call", "watch", "refusal", "config", "transport", "limits", "metrics"],
        still: &["door", "console"],
        is_for: "the routes' handlers, a file a resource",
    },
    Room {
        name: "call",
        files: &["call.rs", "call/"],
        uses: &["watch", "refusal", "transport", "limits"],
        still: &["api"],
        is_for: "a request as handlers see it",
    },
    Room {
        name: "watch",
        files: &["watch.rs", "tally.rs", "request_log.rs"],
        uses: &["refusal", "metrics"],
        still: &["call"],
        is_for: "what is counted and noted of answers",
    },
    Room {
        name: "refusal",
        files: &["problem.rs", "openapi.rs"],
        uses: &["limits"],
        still: &["console", "api"],
        is_for: "refusals as answers, and how they are described",
    },
    Room {
        name: "config",
        files: &["config.rs", "config/", "telemetry.rs", "log_lines.rs"],
        uses: &["transport"],
        still: &["socket"],
        is_for: "the settings, and the log",
    },
    Room {
        name: "transport",
        files: &["transport.rs", "transport/"],
        uses: &["limits", "metrics"],
        still: &["door"],
        is_for: "connections, what they hold and how fast they are read",
    },
    Room {
        name: "limits",
        files: &["limits.rs", "limits/", "throttle.rs", "turns.rs"],
        uses: &[],
        still: &[],
        is_for: "how often and how much who may",
    },
    Room { name: "metrics", files: &["metrics.rs"], uses: &[], still: &[], is_for: "counters" },
    Room {
        name: "machine",
        files: &["data_folder.rs", "enduring.rs", "files.rs", "greeting.rs", "tls.rs", "trouble.rs"],
        uses: &[],
        still: &[],
        is_for: "files, certificates, tasks that go on",
    },
];
