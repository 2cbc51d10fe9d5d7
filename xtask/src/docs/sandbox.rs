//! A fresh copy of the checkout for the commands of one document.
//!
//! It holds exactly the project's files, so a command that needs a forgotten or ignored file fails
//! here as it would for a reader. Unchanged files keep their times, and all documents share a target
//! directory, so that cargo builds as little as possible again. It is not the checkout's own: cargo
//! tells the packages of the two apart by nothing but their place within the workspace, and would take
//! what it built of one for fresh in the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::files;
use crate::process::Workspace;

/// The copy, made or brought up to date; whatever else lies in it is removed.
pub(super) fn fresh(workspace: &Workspace) -> Result<PathBuf> {
    let copy = workspace.target().join("docs/checkout");
    fs::create_dir_all(&copy).with_context(|| format!("cannot make {}", copy.display()))?;
    let files = files::project_files(workspace)?;
    let kept: BTreeSet<PathBuf> = files.iter().map(|file| copy.join(file)).collect();
    remove_others(&copy, &kept)?;
    for file in &files {
        copy_changed(&workspace.root.join(file), &copy.join(file))
            .with_context(|| format!("cannot copy {file} to {}", copy.display()))?;
    }
    let target = workspace.target().join("docs/target");
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    std::os::unix::fs::symlink(target, copy.join("target"))
        .context("cannot link the target directory")?;
    Ok(copy)
}

fn remove_others(directory: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            remove_others(&path, kept)?;
            // Fails, and may, when kept files are left in it.
            let _ = fs::remove_dir(&path);
        } else if !kept.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn copy_changed(from: &Path, to: &Path) -> Result<()> {
    let wanted = fs::read(from)?;
    if fs::read(to).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    // Copies permission bits too: scripts stay executable.
    fs::copy(from, to)?;
    Ok(())
}
