//! The rooms of the server and which uses which: the picture in docs/architecture.md.

pub(super) const SERVER_SRC: &str = "crates/server/src";

/// Files of one subject.
pub(super) struct Room {
    pub(super) name: &'static str,
    /// Files, and folders with a slash at their end.
    pub(super) files: &'static [&'static str],
    /// The rooms it may name something of. All are planned below it, so that rooms make no circle.
    pub(super) uses: &'static [&'static str],
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
        uses: &["run", "router", "log", "config", "machine"],
        is_for: "the command line",
    },
    Room {
        name: "run",
        files: &["run.rs", "run/", "books.rs", "database.rs", "first_start.rs", "sweep.rs", "upkeep.rs"],
        uses: &[
            "door",
            "socket",
            "respoke1",
            "websocket",
            "answering",
            "state",
            "cluster",
            "watch",
            "config",
            "transport",
            "limits",
            "metrics",
            "machine",
        ],
        is_for: "a server's start, its tasks and its end",
    },
    Room {
        name: "door",
        files: &["door.rs", "door/"],
        uses: &[
            "socket",
            "respoke1",
            "websocket",
            "answering",
            "console",
            "api",
            "state",
            "watch",
            "facts",
            "refusal",
            "transport",
            "limits",
        ],
        is_for: "what every HTTP request passes",
    },
    Room {
        name: "socket",
        files: &["socket/"],
        uses: &[
            "websocket",
            "answering",
            "call",
            "state",
            "watch",
            "facts",
            "config",
            "transport",
            "limits",
            "metrics",
            "machine",
        ],
        is_for: "Socket.IO, as existing clients speak it",
    },
    Room {
        name: "respoke1",
        files: &["respoke1/"],
        uses: &[
            "websocket",
            "answering",
            "call",
            "state",
            "watch",
            "facts",
            "refusal",
            "config",
            "transport",
            "limits",
            "metrics",
            "machine",
        ],
        is_for: "respoke.1, for applications written today",
    },
    Room {
        name: "websocket",
        files: &["websocket.rs", "websocket/"],
        uses: &["state", "transport"],
        is_for: "websockets, whatever is spoken on them",
    },
    Room {
        name: "answering",
        files: &["answering.rs", "answering/", "tunnel.rs"],
        uses: &["router", "call", "state", "watch", "facts", "refusal", "limits", "metrics"],
        is_for: "how a request is answered, over whichever door it came",
    },
    Room {
        name: "router",
        files: &["operations.rs", "router.rs", "description.rs", "docs.rs"],
        uses: &["console", "api", "call", "state", "facts", "refusal", "config", "metrics", "markup"],
        is_for: "which path leads to which operation, and their description",
    },
    Room {
        name: "console",
        files: &["console/"],
        uses: &["api", "call", "state", "refusal", "limits", "metrics", "markup"],
        is_for: "the Dev Console's pages",
    },
    Room {
        name: "api",
        files: &["api/"],
        uses: &["call", "state", "watch", "refusal", "transport", "limits", "metrics", "markup"],
        is_for: "what each operation does, a file a resource",
    },
    Room {
        name: "call",
        files: &["call.rs", "call/"],
        uses: &["state", "facts", "refusal", "limits", "metrics"],
        is_for: "a request as operations see it",
    },
    Room {
        name: "state",
        files: &["state.rs", "state/"],
        uses: &["cluster", "watch", "refusal", "config", "transport", "limits", "metrics"],
        is_for: "what every operation has at hand",
    },
    Room {
        name: "cluster",
        files: &["cluster.rs", "cluster/"],
        uses: &["metrics", "machine"],
        is_for: "this node among others: its life, and the bus between them",
    },
    Room {
        name: "watch",
        files: &["watch.rs", "tally.rs", "minutes.rs", "request_log.rs"],
        uses: &["facts", "refusal", "metrics"],
        is_for: "what is counted and noted of answers",
    },
    Room {
        name: "facts",
        files: &["facts.rs", "family.rs"],
        uses: &["transport", "limits", "metrics"],
        is_for: "what is known of a request",
    },
    Room {
        name: "refusal",
        files: &["problem.rs", "openapi.rs"],
        uses: &["limits"],
        is_for: "refusals as answers, and how they are described",
    },
    Room { name: "log", files: &["telemetry.rs", "log_lines.rs"], uses: &["config"], is_for: "log lines" },
    Room {
        name: "config",
        files: &["config.rs", "config/", "log_filter.rs"],
        uses: &["transport"],
        is_for: "the settings",
    },
    Room {
        name: "transport",
        files: &["transport.rs", "transport/"],
        uses: &["limits", "metrics"],
        is_for: "connections, what they hold and how fast they are read",
    },
    Room {
        name: "limits",
        files: &["limits.rs", "limits/", "throttle.rs", "throttle/", "turns.rs"],
        uses: &[],
        is_for: "how often and how much who may",
    },
    Room {
        name: "metrics",
        files: &["metrics.rs", "metrics/", "deed.rs"],
        uses: &[],
        is_for: "counters, and what they count",
    },
    Room { name: "markup", files: &["markup.rs"], uses: &[], is_for: "what every page for people begins with" },
    Room {
        name: "machine",
        files: &["data_folder.rs", "enduring.rs", "files.rs", "greeting.rs", "tls.rs", "trouble.rs"],
        uses: &[],
        is_for: "files, certificates, tasks that go on",
    },
];
