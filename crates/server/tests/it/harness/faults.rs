//! A disk that fails or stands still, for the built binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// What makes the disk fail (`faults.c`), built once for all tests.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/faults.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}.so", std::process::id()));
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).status();
    assert!(built.expect("a C compiler, which the database needs as well").success());
    library
});

/// The faults of one server's disk.
pub(crate) struct Faults(PathBuf);

impl Faults {
    /// Of the server on `data`; none yet.
    pub(crate) fn on(data: &Path) -> Self {
        Self(data.with_extension("faults"))
    }

    /// The binary, with this disk under it.
    pub(super) fn binary(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_respoked"));
        command.env("LD_PRELOAD", &*LIBRARY).env("FAULTS", &self.0);
        command
    }

    /// From now on these, a line each, in place of those before.
    pub(crate) fn set(&self, lines: &str) {
        let fresh = self.0.with_extension("fresh");
        std::fs::write(&fresh, lines).unwrap();
        std::fs::rename(fresh, &self.0).unwrap();
    }

    /// From now on none.
    pub(crate) fn clear(&self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}
