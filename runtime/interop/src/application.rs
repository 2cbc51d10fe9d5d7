//! One application under test: a function server and `dormouse`, on free ports, with a data directory
//! of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::http::{self, Answer};
use crate::packages::{self, Language};
use crate::process::{Running, free_port, run};

/// A function server is there after so long, the Java one on a busy machine included.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// A greeting that is on its way arrives within this time, retries of a failed call included.
const GREETING_TIME_MAX: Duration = Duration::from_secs(60);
/// `dormouse` ends so long after SIGTERM.
const STOP_TIME_MAX: Duration = Duration::from_secs(45);

/// The processes and where they listen.
#[derive(Debug)]
pub struct Application {
    language: Language,
    directory: PathBuf,
    ports: Ports,
    functions: Option<Running>,
    dormouse: Option<Running>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    functions: u16,
    ingress: u16,
    egress: u16,
    admin: u16,
}

impl Application {
    /// Starts both; `name` tells the data directories of one language's tests apart.
    pub fn start(language: Language, name: &str) -> Result<Self> {
        let directory = packages::target().join("interop/run");
        let directory = directory.join(format!("{language:?}-{name}").to_lowercase());
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot empty {}", directory.display()))?;
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let ports = Ports {
            functions: free_port()?,
            ingress: free_port()?,
            egress: free_port()?,
            admin: free_port()?,
        };
        let module = module(language, ports)?;
        fs::write(directory.join("module.yaml"), module).context("cannot write module.yaml")?;
        let mut application = Self { language, directory, ports, functions: None, dormouse: None };
        application.start_functions()?;
        application.start_dormouse()?;
        Ok(application)
    }

    /// Starts the function server.
    pub fn start_functions(&mut self) -> Result<()> {
        let log = self.directory.join("functions.log");
        self.functions = Some(function_server(self.language, self.ports.functions, &log)?);
        Ok(())
    }

    /// Kills the function server: calls find nobody.
    pub fn kill_functions(&mut self) -> Result<()> {
        self.functions.take().context("no functions are running")?.kill()
    }

    /// Starts `dormouse run`, and returns once it is ready.
    pub fn start_dormouse(&mut self) -> Result<()> {
        let mut command = Command::new(binary()?);
        command
            .arg("run")
            .arg(self.directory.join("module.yaml"))
            .arg("--data")
            .arg(self.directory.join("data"))
            .args(["--admin", &format!("127.0.0.1:{}", self.ports.admin)]);
        let mut running = Running::start(&mut command, &self.directory.join("dormouse.log"))?;
        let admin = self.ports.admin;
        running.wait_for("/readyz answered 200", START_TIME_MAX, || {
            let answer = http::request("GET", admin, "/readyz", &[], b"").ok()?;
            (answer.status == 200).then_some(())
        })?;
        self.dormouse = Some(running);
        Ok(())
    }

    /// SIGKILL to `dormouse`.
    pub fn kill_dormouse(&mut self) -> Result<()> {
        self.dormouse.take().context("dormouse is not running")?.kill()
    }

    /// SIGTERM to `dormouse`, which has to end with code 0.
    pub fn stop_dormouse(&mut self) -> Result<()> {
        let mut running = self.dormouse.take().context("dormouse is not running")?;
        let status = running.terminate(STOP_TIME_MAX)?;
        if !status.success() {
            bail!("after SIGTERM: {status}\n{}", running.log_tail());
        }
        Ok(())
    }

    /// Sends visits to itself; may be used from another thread.
    #[must_use]
    pub fn visitor(&self) -> Visitor {
        Visitor { ingress: self.ports.ingress }
    }

    /// The next greeting, once it is there.
    pub fn greeting(&mut self) -> Result<String> {
        let egress = self.ports.egress;
        let dormouse = self.dormouse.as_mut().context("dormouse is not running")?;
        let answer = dormouse.wait_for("a greeting came", GREETING_TIME_MAX, || {
            let answer = http::request("GET", egress, "/greetings", &[], b"").ok()?;
            (answer.status != 404).then_some(answer)
        })?;
        if answer.status != 200 {
            bail!("GET /greetings: {} {:?}", answer.status, answer.text());
        }
        Ok(answer.text()?.to_owned())
    }

    /// What the egress answers right now.
    pub fn egress_answer(&self, path: &str) -> Result<Answer> {
        http::request("GET", self.ports.egress, path, &[], b"")
    }

    /// The logs of both processes, for the message of a failure.
    #[must_use]
    pub fn logs(&self) -> String {
        let running = [&self.dormouse, &self.functions];
        let tails = running.into_iter().flatten().map(Running::log_tail);
        tails.collect::<Vec<_>>().join("\n")
    }
}

/// Sends what `curl` sends.
#[derive(Clone, Copy, Debug)]
pub struct Visitor {
    ingress: u16,
}

impl Visitor {
    /// `curl -X PUT -H "Content-Type: application/vnd.example/GreetRequest" -d '{"name": NAME}'
    /// localhost:8090/example/person/NAME`
    pub fn visit(self, name: &str) -> Result<Answer> {
        let path = format!("/example/person/{name}");
        let body = format!("{{\"name\": \"{name}\"}}");
        let headers = [
            ("User-Agent", "curl/7.88.1"),
            ("Accept", "*/*"),
            ("Content-Type", "application/vnd.example/GreetRequest"),
        ];
        http::request("PUT", self.ingress, &path, &headers, body.as_bytes())
    }
}

/// A function server on `port`, ready to be called.
pub fn function_server(language: Language, port: u16, log: &Path) -> Result<Running> {
    let mut command = packages::functions(language)?;
    let mut running = Running::start(command.env("PORT", port.to_string()), log)?;
    let what = format!("the {language:?} functions listened on port {port}");
    running.wait_for(&what, START_TIME_MAX, || {
        http::request("POST", port, language.path(), &[], &crate::wire::greet_request(None)).ok()
    })?;
    Ok(running)
}

/// The module file of the functions with nothing changed but host names and ports.
fn module(language: Language, ports: Ports) -> Result<String> {
    let path = format!("{}/module.yaml", language.source());
    let mut text = fs::read_to_string(packages::checkout().join(&path))
        .with_context(|| format!("cannot read {path}"))?;
    let changes = [
        (language.host_in_module(), format!("http://127.0.0.1:{}", ports.functions)),
        ("port: 8090", format!("port: {}", ports.ingress)),
        ("port: 8091", format!("port: {}", ports.egress)),
    ];
    for (from, to) in changes {
        if text.matches(from).count() != 1 {
            bail!("{path} should hold '{from}' once");
        }
        text = text.replace(from, &to);
    }
    Ok(text)
}

/// The binary: what `DORMOUSE_BINARY` names, else the one of this checkout, brought up to date.
fn binary() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("DORMOUSE_BINARY") {
        return Ok(binary.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--quiet", "--locked", "--package", "dormouse", "--bin", "dormouse"])
        .current_dir(packages::checkout());
    run(&mut build, "Rust: https://rustup.rs")?;
    Ok(packages::target().join("debug/dormouse"))
}
