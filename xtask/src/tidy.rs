//! `cargo xtask tidy`: the rules about sources that no compiler checks.
//!
//! Each rule returns what it found as `path:line: what is wrong` and reads nothing but the texts it
//! is given, so that its tests are plain strings. All findings are told at once.

mod layers;
mod links;
mod sources;

use anyhow::{Result, bail};

use crate::files;
use crate::process::{Workspace, cargo};

/// Everything that is wrong in the checkout, or nothing.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let paths = files::project_files(workspace)?;
    let mut findings = sources::names(&paths);
    let rust = files::read_all(workspace, ".rs")?;
    for (path, text) in &rust {
        findings.extend(sources::rust(path, text));
    }
    for suffix in sources::WITHOUT_MARKS {
        for (path, text) in files::read_all(workspace, suffix)? {
            findings.extend(sources::marks(&path, &text));
        }
    }
    let markdown = files::read_all(workspace, ".md")?;
    findings.extend(links::check(&markdown, &rust, &paths));

    let metadata =
        cargo(workspace).args(["metadata", "--format-version", "1", "--locked"]).stdout()?;
    findings.extend(layers::check(&metadata)?);

    if findings.is_empty() {
        let (sources, documents) = (rust.len(), markdown.len());
        println!("tidy: {sources} Rust files and {documents} documents are in order");
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    bail!("{} finding(s) of tidy, listed above", findings.len())
}
