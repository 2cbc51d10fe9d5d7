//! `cargo xtask k8s`: the Kubernetes files are rendered and checked.
//!
//! Four questions, in this order: does Kustomize build each variant; do the documents follow the
//! schemas of Kubernetes, strictly ([`tools`]); do ports, probes, paths and limits fit each other
//! ([`rules`]); does the binary start with exactly these arguments, get ready, and stop on SIGTERM
//! ([`process`]). The Dockerfiles are held against the checkout ([`dockerfile`]).

mod dockerfile;
mod process;
mod rules;
mod tools;

use anyhow::{Context, Result, bail};

use crate::files;
use crate::k8s::tools::Tools;
use crate::process::Workspace;

/// What can be given to `kubectl apply -k`.
const VARIANTS: [&str; 2] = ["k8s/base", "k8s/overlays/greeter-python"];

/// Damages that the schemas must not let through: text to find, text to put there.
const DAMAGES: [(&str, &str); 4] = [
    ("replicas: 1", "replicas: one"),
    ("serviceName:", "serviceNam:"),
    ("containerPort: 9095", "containerPort: admin"),
    ("readOnlyRootFilesystem:", "readOnlyRootFileSystem:"),
];

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let tools = Tools::install(workspace)?;
    check_files(workspace)?;
    for variant in VARIANTS {
        let rendered = tools.render(variant)?;
        tools.validate(variant, &rendered)?;
        let documents = tools.parse(&rendered)?;
        let node = rules::check(&documents, |text| tools.parse(text))
            .map_err(|found| anyhow::anyhow!("{variant}:\n{}", found.join("\n")))?;
        process::start_and_stop(workspace, &node)
            .with_context(|| format!("{variant}: the binary with the arguments given there"))?;
        println!("k8s: {variant}: {} documents are in order", documents.len());
    }
    let rendered = tools.render(VARIANTS[0])?;
    for (sound, damaged) in DAMAGES {
        if !rendered.contains(sound) {
            bail!("'{sound}' is not in {} any more: adapt DAMAGES", VARIANTS[0]);
        }
        if tools.validate("damaged", &rendered.replace(sound, damaged)).is_ok() {
            bail!("the schemas accepted '{damaged}': the validation does not check anything");
        }
    }
    println!("k8s: {} damages were found by the schemas", DAMAGES.len());
    Ok(())
}

/// Every directory with a kustomization is a variant, and every Dockerfile fits the checkout.
fn check_files(workspace: &Workspace) -> Result<()> {
    let files = files::project_files(workspace)?;
    for file in files.iter().filter(|file| file.starts_with("k8s/")) {
        if let Some(directory) = file.strip_suffix("/kustomization.yaml")
            && !VARIANTS.contains(&directory)
        {
            bail!("{file} is not checked: add '{directory}' to VARIANTS");
        }
    }
    let toolchain = std::fs::read_to_string(workspace.root.join("rust-toolchain.toml"))
        .context("cannot read rust-toolchain.toml")?;
    let mut findings = Vec::new();
    for (path, text) in files::read_all(workspace, "Dockerfile")? {
        findings.extend(dockerfile::check(&path, &text, &files, &toolchain));
    }
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{}", findings.join("\n"))
}
