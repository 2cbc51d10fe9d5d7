//! A directory of its own for each test, in which the binary is run.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for the binary to say or do something.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Sandbox(TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// With one manifest, `module.yaml`.
    pub(crate) fn with(manifest: &str) -> Self {
        let sandbox = Self::new();
        sandbox.write("module.yaml", manifest);
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// `dormouse` with these arguments, in this directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_dormouse")), arguments)
    }

    pub(crate) fn command_of(&self, binary: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command.args(arguments).current_dir(self.0.path()).env_remove("DORMOUSE_LOG");
        command
    }

    /// Runs to the end: exit code, standard output and standard error as one text.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let mut command = self.command(arguments);
        let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let id = process.id().to_string();
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || ended.send(process.wait_with_output()));
        let Ok(output) = end.recv_timeout(PATIENCE) else {
            drop(Command::new("kill").args(["-9", &id]).status());
            panic!("it does not end: dormouse {}", arguments.join(" "));
        };
        self.ended(output.unwrap())
    }

    pub(crate) fn ended(&self, output: Output) -> String {
        let code = output.status.code().map_or("a signal".to_owned(), |code| code.to_string());
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let here = format!("{}/", fs::canonicalize(self.0.path()).unwrap().display());
        format!("{}exit {code}\n", text.concat()).replace(&here, "")
    }

    /// Starts `dormouse run` and waits until it serves.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }
}

/// A process that serves. It is killed when it is dropped.
pub(crate) struct Running {
    process: Child,
    output: BufReader<ChildStdout>,
    /// What it printed until it was ready.
    pub(crate) banner: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut banner = String::new();
        while !banner.ends_with("ready\n") {
            if output.read_line(&mut banner).unwrap() == 0 {
                let mut errors = String::new();
                process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
                panic!("it ended before it served: {banner}{errors}");
            }
        }
        Self { process, output, banner }
    }

    /// The address in the banner's line that begins with this word.
    pub(crate) fn address(&self, word: &str) -> String {
        let mut lines = self.banner.lines().map(str::trim_start);
        let line = lines.find(|line| line.starts_with(word)).unwrap();
        let (_, address) = line.rsplit_once("http://").unwrap();
        address.trim_end_matches('/').to_owned()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        self.signals(&[name]);
    }

    /// Sends signals one right after the other.
    pub(crate) fn signals(&self, names: &[&str]) {
        let id = self.process.id();
        let kills: String =
            names.iter().map(|name| format!("kill -s {name} {id} || exit 1\n")).collect();
        let sent = Command::new("sh").args(["-c", &kills]).status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended: exit code and what it printed since it was ready.
    pub(crate) fn end(mut self) -> String {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        self.process.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        format!("{text}exit {}\n", status.code().map_or("-".to_owned(), |c| c.to_string()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// One request: status code and body.
pub(crate) fn http(address: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    try_http(address, method, path, body).expect("an answer")
}

/// The same; `None` when nobody is there, or leaves without an answer.
pub(crate) fn try_http(
    address: &str,
    method: &str,
    path: &str,
    body: &str,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/plain\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}
