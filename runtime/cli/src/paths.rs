//! Which manifests an argument means: a file itself; a directory its `module.yaml`, else the one of
//! each directory in it, as in StateFun's image. A directory that has both is told about.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The name of a manifest in a directory.
pub(crate) const MANIFEST: &str = "module.yaml";

/// The manifests that `arguments` mean, each once, in the order given.
pub(crate) fn manifests(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    if arguments.is_empty() {
        return in_current_directory();
    }
    let mut found: Vec<PathBuf> = Vec::new();
    let mut wrong = Vec::new();
    for argument in arguments {
        match meant(argument) {
            Ok(manifests) => found.extend(manifests),
            Err(problem) => wrong.push(problem),
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::Input(wrong.join("\n")));
    }
    Ok(each_once(found))
}

fn in_current_directory() -> Result<Vec<PathBuf>, Failure> {
    let manifest = PathBuf::from(MANIFEST);
    if manifest.is_file() {
        return Ok(vec![manifest]);
    }
    Err(Failure::Input(
        "there is no module.yaml in this directory; name a manifest or a directory that holds one, \
         or make an application with `dormouse new NAME`"
            .to_owned(),
    ))
}

fn meant(argument: &Path) -> Result<Vec<PathBuf>, String> {
    let shown = argument.display();
    let kind = fs::metadata(argument).map_err(|error| format!("{shown}: {error}"))?;
    if !kind.is_dir() {
        return Ok(vec![argument.to_owned()]);
    }
    let own = argument.join(MANIFEST);
    if own.is_file() {
        return Ok(vec![own]);
    }
    let entries = entries(argument).map_err(|error| format!("{shown}: {error}"))?;
    let manifests = entries.into_iter().map(|entry| entry.join(MANIFEST));
    let found: Vec<PathBuf> = manifests.filter(|manifest| manifest.is_file()).collect();
    if found.is_empty() {
        let hint = match jars(&[argument.to_owned()]).first() {
            Some(_) => {
                " (Java modules are not run in this process: serve their functions over HTTP)"
            }
            None => "",
        };
        return Err(format!("{shown}: holds no {MANIFEST}, nor does any directory in it{hint}"));
    }
    Ok(found)
}

/// Manifests that lie where those of modules do, beside one that is read: the directory's own, and they.
pub(crate) fn passed_over(arguments: &[PathBuf]) -> Vec<(PathBuf, Vec<PathBuf>)> {
    let here = [PathBuf::new()];
    let arguments = if arguments.is_empty() { &here } else { arguments };
    let with_own = arguments.iter().map(|path| (path, path.join(MANIFEST)));
    let with_own = with_own.filter(|(_, own)| own.is_file());
    let found = with_own.map(|(path, own)| (own, beside(path, arguments)));
    found.filter(|(_, others)| !others.is_empty()).collect()
}

/// Those of directories that no other argument names. Hidden ones are how Kubernetes mounts files.
fn beside(directory: &Path, arguments: &[PathBuf]) -> Vec<PathBuf> {
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let names = entries(listed).unwrap_or_default().into_iter().filter_map(|entry| {
        let name = entry.file_name()?.to_owned();
        (!name.as_encoded_bytes().starts_with(b".")).then(|| directory.join(name))
    });
    let is_named = |path: &Path| {
        let same =
            |argument: &PathBuf| fs::canonicalize(argument).ok() == fs::canonicalize(path).ok();
        arguments.iter().any(same)
    };
    let manifests = names.map(|name| (name.join(MANIFEST), name));
    let others = manifests
        .filter(|(manifest, name)| manifest.is_file() && !is_named(name) && !is_named(manifest));
    others.map(|(manifest, _)| manifest).collect()
}

/// What lies in a directory, sorted.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    Ok(entries)
}

/// Java modules that lie where StateFun's image has them: in a directory of a directory of modules.
pub(crate) fn jars(arguments: &[PathBuf]) -> Vec<PathBuf> {
    let of_modules =
        arguments.iter().filter(|path| path.is_dir() && !path.join(MANIFEST).is_file());
    let lists = of_modules.filter_map(|path| entries(path).ok());
    let modules = lists.flatten().filter(|entry| entry.is_dir());
    let files = modules.filter_map(|module| entries(&module).ok()).flatten();
    files.filter(|file| file.extension().is_some_and(|extension| extension == "jar")).collect()
}

fn each_once(manifests: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = Vec::new();
    let is_new = |manifest: &PathBuf| {
        let real = fs::canonicalize(manifest).unwrap_or_else(|_| manifest.clone());
        let is_new = !seen.contains(&real);
        seen.push(real);
        is_new
    };
    manifests.into_iter().filter(is_new).collect()
}
