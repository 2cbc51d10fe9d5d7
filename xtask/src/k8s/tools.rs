//! Kustomize and the schema validator, installed once into `target/tools` from their registries.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{Command, Workspace};

const KUSTOMIZE: &str = "v5.7.1";
const VALIDATOR: &str = "1.36.0";
/// The schemas that documents are held against: the oldest Kubernetes that is meant to work.
const KUBERNETES: &str = "1.30";

const GO: &str = "Go 1.24 or newer (https://go.dev/dl)";
const PYTHON: &str = "Python 3.9 or newer with venv (apt-get install python3-venv)";

/// Installed programs.
#[derive(Debug)]
pub(super) struct Tools<'a> {
    workspace: &'a Workspace,
    kustomize: PathBuf,
    python: PathBuf,
}

impl<'a> Tools<'a> {
    pub(super) fn install(workspace: &'a Workspace) -> Result<Self> {
        let bin = workspace.tools().join(format!("kustomize-{KUSTOMIZE}"));
        let kustomize = bin.join("kustomize");
        if !kustomize.is_file() {
            println!("k8s: building kustomize {KUSTOMIZE}");
            let package = format!("sigs.k8s.io/kustomize/kustomize/v5@{KUSTOMIZE}");
            Command::new(workspace, "go", GO)
                .args(["install", &package])
                .env("GOBIN", &bin)
                .run()?;
        }
        let venv = workspace.tools().join(format!("kubernetes-validate-{VALIDATOR}"));
        let python = venv.join("bin/python");
        // Written last: a directory without it was left by an interrupted installation.
        let complete = venv.join("complete");
        if !complete.is_file() {
            println!("k8s: installing kubernetes-validate {VALIDATOR}");
            Command::new(workspace, "python3", PYTHON)
                .args(["-m", "venv", "--clear"])
                .args([&venv])
                .run()?;
            Command::new(workspace, &python, PYTHON)
                .args(["-m", "pip", "install", "--quiet"])
                .args([format!("kubernetes-validate=={VALIDATOR}")])
                .run()?;
            fs::write(&complete, VALIDATOR).context("cannot finish the installation")?;
        }
        Ok(Self { workspace, kustomize, python })
    }

    /// All documents of a variant, as YAML.
    pub(super) fn render(&self, directory: &str) -> Result<String> {
        Command::new(self.workspace, &self.kustomize, GO).args(["build", directory]).stdout()
    }

    /// Strictly: an unknown field is an error.
    pub(super) fn validate(&self, name: &str, documents: &str) -> Result<()> {
        let file = self.workspace.tools().join("rendered.yaml");
        fs::write(&file, documents).with_context(|| format!("cannot write {}", file.display()))?;
        let output = Command::new(self.workspace, &self.python, PYTHON)
            .args(["-m", "kubernetes_validate", "--strict", "--quiet"])
            .args(["--kubernetes-version", KUBERNETES])
            .args([&file])
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{name} does not follow the schemas of Kubernetes {KUBERNETES}:\n{told}{errors}")
    }

    /// YAML documents as JSON values, read by the validator's own YAML library.
    pub(super) fn parse(&self, yaml: &str) -> Result<Vec<Value>> {
        let file = self.workspace.tools().join("documents.yaml");
        fs::write(&file, yaml).with_context(|| format!("cannot write {}", file.display()))?;
        let program = "import json, sys, yaml\n\
                       json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
        let json = Command::new(self.workspace, &self.python, PYTHON)
            .args(["-c", program])
            .args([&file])
            .stdout()?;
        serde_json::from_str(&json).context("the documents are no JSON")
    }
}
