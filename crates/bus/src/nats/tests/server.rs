//! NATS servers of a test's own: real ones, by the program that `TEST_NATS_SERVER` names. Without that variable no test starts
//! one, and each such test passes; `cargo xtask test` sets it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;

/// The program, where there is one.
static PROGRAM: LazyLock<Option<String>> = LazyLock::new(|| {
    let program = std::env::var_os("TEST_NATS_SERVER").and_then(|program| program.into_string().ok());
    if program.is_none() {
        // Not by a macro for printing: what a test prints that passes, nobody sees.
        let _ = std::io::stderr().write_all(b"\nTEST_NATS_SERVER is not set: tests over NATS are not run\n");
    }
    program
});

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A server that runs until this is dropped, or the thread that started it ends.
pub(crate) struct NatsServer {
    program: String,
    child: Child,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
}

impl NatsServer {
    /// A server that is set up like this besides. None: no program is named.
    pub(crate) fn start(set_up: &str) -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap(), set_up)
    }

    /// The same, with files in a folder.
    pub(crate) fn start_in(mut folder: TempDir, set_up: &str) -> Option<Self> {
        let program = PROGRAM.clone()?;
        std::fs::write(folder.path().join("set-up"), set_up).unwrap();
        loop {
            // Another program may take the port in between; then the server ends at once.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let child = run(&program, folder.path(), port);
            let mut server = Self { program: program.clone(), child, port, folder };
            if server.is_ready() {
                return Some(server);
            }
            let log = std::fs::read_to_string(server.folder.path().join("log")).unwrap();
            assert!(log.contains("address already in use"), "{log}");
            folder = std::mem::replace(&mut server.folder, tempfile::tempdir().unwrap());
        }
    }

    /// Waits until it answers. False: it ended.
    fn is_ready(&mut self) -> bool {
        let since = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            let greeted = TcpStream::connect(("127.0.0.1", self.port)).and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(1)))?;
                let mut greeting = [0; 4];
                stream.read_exact(&mut greeting)?;
                Ok(greeting == *b"INFO")
            });
            if greeted.is_ok_and(|greeted| greeted) {
                return true;
            }
            assert!(since.elapsed() < START, "the server did not start in time");
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    pub(crate) fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Lets it stand still, and returns when it does.
    pub(crate) fn stop(&self) {
        let process = Pid::from_child(&self.child);
        kill_process(process, Signal::STOP).unwrap();
        let (_, status) = waitpid(Some(process), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped(), "{status:?}");
    }

    pub(crate) fn go_on(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Has it tell its clients that it is about to end.
    pub(crate) fn be_about_to_end(&self) {
        kill_process(Pid::from_child(&self.child), Signal::USR2).unwrap();
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, where it was.
    pub(crate) fn start_again(&mut self) {
        self.child = run(&self.program, self.folder.path(), self.port);
        assert!(self.is_ready(), "its port was taken");
    }
}

fn run(program: &str, folder: &Path, port: u16) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    // The system ends it when this process ends, in whatever way.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program, "--addr", "127.0.0.1", "--port", &port.to_string()]);
    command.arg("--config").arg(folder.join("set-up")).current_dir(folder);
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // One that was stopped is killed as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
