//! Which files belong to the project: what git tracks, and what is new and not ignored.

use std::path::PathBuf;

use anyhow::Result;

use crate::process::{Command, Workspace};

/// Paths relative to the checkout, sorted, `/`-separated. Deleted files are left out.
pub(crate) fn project_files(workspace: &Workspace) -> Result<Vec<String>> {
    let listed = Command::new(workspace, "git", "git (apt-get install git)")
        .args(["ls-files", "-z", "--cached", "--others"])
        .args(["--exclude-standard", "--deduplicate"])
        .stdout()?;
    let mut files: Vec<String> = listed
        .split('\0')
        .filter(|path| !path.is_empty() && workspace.root.join(path).is_file())
        .map(ToOwned::to_owned)
        .collect();
    files.sort_unstable();
    Ok(files)
}

/// The project's files whose names end with `suffix`, with their text.
pub(crate) fn read_all(workspace: &Workspace, suffix: &str) -> Result<Vec<(String, String)>> {
    let mut texts = Vec::new();
    for path in project_files(workspace)? {
        if path.ends_with(suffix) {
            let absolute: PathBuf = workspace.root.join(&path);
            let text = std::fs::read_to_string(&absolute)
                .map_err(|error| anyhow::anyhow!("cannot read {path}: {error}"))?;
            texts.push((path, text));
        }
    }
    Ok(texts)
}
