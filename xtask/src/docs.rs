//! `cargo xtask docs`: the commands that the documents show are run as a reader would run them.
//!
//! Each fenced block of commands says what becomes of it, right after its language:
//!
//! - `sh test`: run at the root of a fresh copy of the checkout; it must succeed. A block
//!   `text output` after it is what it must print; a line `...` stands for any lines.
//! - `sh test background port=N`: started likewise; the next block runs once port N accepts
//!   connections. It is ended with its document.
//! - `sh not-run: REASON`: for the reader only.
//!
//! A block without such a mark fails, so no command is untested by accident.

mod block;
mod runner;
mod sandbox;

use anyhow::{Context, Result, bail};

use crate::docs::block::Block;
use crate::files;
use crate::process::Workspace;

/// Runs the commands of every document of the project.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    run_only(workspace, &[])
}

/// Runs the commands of the named documents, of all if none is named. Marks are checked in all.
pub(crate) fn run_only(workspace: &Workspace, names: &[String]) -> Result<()> {
    let documents = files::read_all(workspace, ".md")?;
    if let Some(name) = names.iter().find(|name| documents.iter().all(|d| d.0 != **name)) {
        bail!("there is no document '{name}': give its path from the root of the checkout");
    }
    let mut parsed = Vec::new();
    let mut problems = Vec::new();
    for (path, text) in &documents {
        match block::parse(text) {
            Ok(blocks) => parsed.push((path, blocks)),
            Err(found) => problems.extend(found.iter().map(|p| format!("{path}:{p}"))),
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    for (path, blocks) in parsed {
        let tested = blocks.iter().filter(|block| block.is_run()).count();
        if tested > 0 && (names.is_empty() || names.contains(path)) {
            println!("docs: {path}: {tested} block(s)");
            run_document(workspace, path, &blocks)?;
        }
    }
    Ok(())
}

fn run_document(workspace: &Workspace, path: &str, blocks: &[Block]) -> Result<()> {
    let checkout = sandbox::fresh(workspace)?;
    let mut session = runner::Session::new(workspace, &checkout);
    for block in blocks {
        session
            .run(block)
            .with_context(|| format!("{path}:{}: these commands failed", block.line))?;
    }
    Ok(())
}
