//! Starts the binary with the arguments of the StatefulSet, as its pod would.
//!
//! Only what belongs to the machine is replaced: paths go to a directory of this run, ports to free
//! ones. The probes must be answered, and SIGTERM must end the process with code 0 within the grace
//! period.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::k8s::rules::Node;
use crate::process::{Command, Workspace, bash, cargo};

/// The startup probe of the base gives a minute; an empty directory needs far less.
const READY_TIME_MAX: Duration = Duration::from_secs(20);
const STOP_TIME_MAX: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_millis(50);

pub(super) fn start_and_stop(workspace: &Workspace, node: &Node) -> Result<()> {
    cargo(workspace)
        .args(["build", "--quiet", "--locked", "--package", "dormouse", "--bin", "dormouse"])
        .run()?;
    let directory = workspace.target().join("k8s-run");
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot empty {}", directory.display()))?;
    }
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let admin = format!("127.0.0.1:{}", free_port()?);
    let arguments = arguments(node, &directory, &admin)?;
    let binary = workspace.target().join("debug/dormouse");

    let manifest = directory.join("module.yaml");
    Command::new(workspace, &binary, "it with cargo build")
        .args(["check", "--strict"])
        .args([&manifest])
        .run()?;
    let log = directory.join("log");
    let child = Command::new(workspace, &binary, "it with cargo build")
        .args(&arguments)
        .spawn(File::create(&log)?)?;
    let told = probe_and_stop(workspace, child, &admin);
    told.with_context(|| fs::read_to_string(&log).unwrap_or_default())
}

/// The node's arguments with the paths and addresses of this run; writes the manifest beside.
fn arguments(node: &Node, directory: &Path, admin: &str) -> Result<Vec<String>> {
    let mut manifest = node.manifest.clone();
    for port in &node.listening {
        let free = free_port()?;
        manifest = manifest
            .replace(&format!("0.0.0.0:{port}"), &format!("127.0.0.1:{free}"))
            .replace(&format!("port: {port}"), &format!("port: {free}"));
    }
    let path = directory.join("module.yaml");
    fs::write(&path, manifest).context("cannot write the manifest")?;
    let replace = |argument: &String| match argument.as_str() {
        data if data == format!("--data={}", node.data) => {
            format!("--data={}", directory.join("data").display())
        }
        listen if listen == format!("--admin={}", node.admin) => format!("--admin={admin}"),
        manifest if manifest == node.manifest_path => path.display().to_string(),
        other => other.to_owned(),
    };
    Ok(node.arguments.iter().map(replace).collect())
}

fn probe_and_stop(workspace: &Workspace, mut child: Child, admin: &str) -> Result<()> {
    let probed = wait_until_ready(workspace, &mut child, admin);
    if child.try_wait()?.is_none() {
        bash(workspace, &format!("kill -TERM {}", child.id())).run()?;
    }
    let asked = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if asked.elapsed() > STOP_TIME_MAX {
            child.kill().context("cannot end the process")?;
            bail!("still running {} s after SIGTERM", STOP_TIME_MAX.as_secs());
        }
        std::thread::sleep(POLL);
    };
    probed?;
    if !status.success() {
        bail!("after SIGTERM: {status}, expected exit code 0");
    }
    Ok(())
}

fn wait_until_ready(workspace: &Workspace, child: &mut Child, admin: &str) -> Result<()> {
    let deadline = Instant::now() + READY_TIME_MAX;
    while !answers(workspace, admin, "/readyz")? {
        if let Some(status) = child.try_wait()? {
            bail!("ended before it was ready: {status}");
        }
        if Instant::now() > deadline {
            bail!("not ready on {admin} after {} s", READY_TIME_MAX.as_secs());
        }
        std::thread::sleep(POLL);
    }
    if !answers(workspace, admin, "/healthz")? {
        bail!("ready, but http://{admin}/healthz does not answer 200");
    }
    Ok(())
}

fn answers(workspace: &Workspace, admin: &str, path: &str) -> Result<bool> {
    let url = format!("http://{admin}{path}");
    let output = Command::new(workspace, "curl", "curl (apt-get install curl)")
        .args(["--silent", "--fail", "--max-time", "5", &url])
        .output()?;
    Ok(output.status.success())
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
