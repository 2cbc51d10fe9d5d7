//! What opening a data directory refuses, and what it says; and how a start that was cut short goes on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use dormouse_engine::Commit;
use dormouse_store::conformance::{open_shard, wait_durable};
use dormouse_store::{EmbeddedOptions, EmbeddedStore, Store, StoreError, stored_partitions};
use tempfile::TempDir;

fn open(directory: &Path, partitions: u16) -> Result<(), StoreError> {
    EmbeddedStore::open(EmbeddedOptions::new(directory, partitions))?.0.close()
}

/// The message with which the directory is refused; it names `path`.
fn refusal_at(directory: &Path, path: &Path) -> String {
    let error = open(directory, 16).expect_err("it is refused");
    let message = error.to_string();
    assert!(message.starts_with(&*path.to_string_lossy()), "{message}");
    assert!(!message.contains('\n') && !message.contains("os error 2)"), "{message}");
    message
}

fn refusal(directory: &Path) -> String {
    refusal_at(directory, directory)
}

/// A directory that was used; nothing of it is in the base.
fn used() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = EmbeddedStore::open(EmbeddedOptions::new(directory.path(), 16)).unwrap();
    let mut shard = open_shard(&*store, 0, &[0]);
    let mut commit = Commit::default();
    commit.ops.put(b"s\0\0key", b"value");
    let last = shard.append(&commit).unwrap();
    wait_durable(&*shard, last).unwrap();
    store.close().unwrap();
    directory
}

#[test]
fn the_number_of_partitions_is_fixed_when_the_directory_is_made() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(stored_partitions(directory.path()), None);
    open(directory.path(), 32).unwrap();
    assert_eq!(stored_partitions(directory.path()), Some(32));
    let message = refusal(directory.path());
    assert!(message.contains("16") && message.contains("32 partitions"), "{message}");
    open(directory.path(), 32).unwrap();
}

#[test]
fn an_application_keeps_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let id = || {
        let options = EmbeddedOptions::new(directory.path(), 16);
        let (store, report) = EmbeddedStore::open(options).unwrap();
        store.close().unwrap();
        (store.application(), report.is_new)
    };
    let (first, is_new) = id();
    assert!(is_new);
    assert_eq!(id(), (first, false));
}

/// A version file with these lines changed, and the checksum that belongs to them.
fn with_checksum(text: &str) -> String {
    let (fields, _) = text.rsplit_once("checksum ").unwrap();
    format!("{fields}checksum {:08x}\n", crc32fast::hash(fields.as_bytes()))
}

#[test]
fn other_versions_are_refused() {
    let directory = used();
    let version = directory.path().join("version");
    let text = std::fs::read_to_string(&version).unwrap();
    assert_eq!(with_checksum(&text), text);
    std::fs::write(&version, with_checksum(&text.replace("format 1", "format 2"))).unwrap();
    let message = refusal_at(directory.path(), &version);
    assert!(message.contains("format 2") && message.contains("format 1"), "{message}");
    std::fs::write(&version, with_checksum(&text.replace("application", "name"))).unwrap();
    assert!(refusal_at(directory.path(), &version).contains("application"));
    std::fs::write(&version, "something else\n").unwrap();
    assert!(refusal_at(directory.path(), &version).contains("not a data directory"));
    std::fs::remove_file(&version).unwrap();
    assert!(refusal_at(directory.path(), &version).contains("missing"));
    std::fs::write(&version, text).unwrap();
    open(directory.path(), 16).unwrap();
}

#[test]
fn any_changed_byte_of_the_version_file_is_noticed() {
    let directory = used();
    let version = directory.path().join("version");
    let bytes = std::fs::read(&version).unwrap();
    for at in 0..bytes.len() {
        for changed in [bytes[at] ^ 1, bytes[at] ^ 0x80, b'7', b'\n'] {
            let mut bytes = bytes.clone();
            if std::mem::replace(&mut bytes[at], changed) == changed {
                continue;
            }
            std::fs::write(&version, bytes).unwrap();
            refusal_at(directory.path(), &version);
        }
        std::fs::write(&version, &bytes[..at]).unwrap();
        refusal_at(directory.path(), &version);
    }
}

#[test]
fn a_path_that_cannot_be_a_data_directory_is_refused_with_what_to_do() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "").unwrap();
    let message = refusal(&file);
    assert!(message.contains("is a file") && message.contains("--data"), "{message}");
    let message = refusal(&file.join("data"));
    assert!(message.contains("below a file"), "{message}");
    let message = refusal(&parent.path().join("a/b"));
    let expected = format!("because {} does not exist", parent.path().join("a").display());
    assert!(message.contains(&expected) && message.contains("--data"), "{message}");
    assert!(!parent.path().join("a").exists());
    // Nobody may make a directory there, root neither.
    let message = refusal(Path::new("/sys/dormouse"));
    assert!(message.contains("cannot be written") && message.contains("--data"), "{message}");
}

#[test]
fn a_directory_of_somebody_else_is_left_alone() {
    for name in ["photos", ".git", "Cargo.toml"] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(name), "mine").unwrap();
        let message = refusal(directory.path());
        assert!(message.contains(name) && message.contains("not a data directory"), "{message}");
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "something was made in it");
    }
}

#[test]
fn a_fresh_file_system_is_an_empty_directory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("lost+found")).unwrap();
    open(directory.path(), 16).unwrap();
    open(directory.path(), 16).unwrap();
}

#[test]
fn a_log_or_base_that_is_gone_is_never_taken_for_a_new_application() {
    // Which directory goes, whether an empty one stays, and what the message names.
    let changes = [
        ("log", true, "log/*.log"),
        ("log", false, "log"),
        ("base", true, "base/current"),
        ("base", false, "base"),
    ];
    // Also one in which nothing was ever written.
    let empty = tempfile::tempdir().unwrap();
    open(empty.path(), 16).unwrap();
    for (part, stays_empty, named) in changes {
        for directory in [&used(), &empty] {
            let part = directory.path().join(part);
            std::fs::remove_dir_all(&part).unwrap();
            if stays_empty {
                std::fs::create_dir(&part).unwrap();
            }
            for _ in 0..2 {
                let message = refusal_at(directory.path(), &directory.path().join(named));
                assert!(message.contains("missing") && message.contains("restore"), "{message}");
            }
        }
        remove_all(empty.path());
        open(empty.path(), 16).unwrap();
    }
}

fn remove_all(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_first_start_that_was_cut_short_goes_on() {
    let whole = tempfile::tempdir().unwrap();
    open(whole.path(), 16).unwrap();
    let version = std::fs::read(whole.path().join("version")).unwrap();
    let half = &version[..version.len() / 2];
    // What a crash leaves, step by step: files, and directories by a slash at the end.
    let steps: [&[(&str, &[u8])]; 8] = [
        &[("lock", b"")],
        &[("lock", b""), ("version.new", b"")],
        &[("lock", b""), ("version.new", half)],
        &[("version.new", &version)],
        &[("version.new", &version), ("log/", b"")],
        &[("version.new", &version), ("log/", b""), ("base/", b"")],
        &[("version.new", &version), ("log/new-00000000000000000001", b"x"), ("base/tables/", b"")],
        &[("version.new", &version), ("log/", b""), ("base/tables/", b""), ("base/v0", b"half")],
    ];
    for step in steps {
        let directory = tempfile::tempdir().unwrap();
        for (name, bytes) in step {
            let path = directory.path().join(name);
            if name.ends_with('/') {
                std::fs::create_dir_all(path).unwrap();
                continue;
            }
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let options = EmbeddedOptions::new(directory.path(), 16);
        let (store, report) = EmbeddedStore::open(options).unwrap();
        assert!(report.is_new, "{step:?}");
        store.close().unwrap();
        assert!(directory.path().join("version").exists());
        assert!(!directory.path().join("version.new").exists());
        open(directory.path(), 16).unwrap();
    }
    // All of it but the last name.
    std::fs::rename(whole.path().join("version"), whole.path().join("version.new")).unwrap();
    open(whole.path(), 16).unwrap();
}

#[test]
fn data_without_their_version_file_are_not_taken_for_a_start_that_was_cut_short() {
    let directory = used();
    let version = directory.path().join("version");
    std::fs::rename(&version, directory.path().join("version.new")).unwrap();
    let message = refusal_at(directory.path(), &version);
    assert!(message.contains("missing"), "{message}");
    std::fs::write(directory.path().join("version.new"), "damaged").unwrap();
    refusal_at(directory.path(), &version);
}

#[test]
fn damage_to_the_files_that_name_the_tables_is_named() {
    let directory = used();
    let base = directory.path().join("base");
    let current = std::fs::read(base.join("current")).unwrap();
    let version = base.join(format!("v{}", current[0]));
    for path in [base.join("current"), version] {
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            std::fs::write(&path, changed).unwrap();
            assert!(refusal_at(directory.path(), &base).contains("restore"));
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert!(refusal_at(directory.path(), &base).contains("restore"));
        }
        std::fs::remove_file(&path).unwrap();
        let message = refusal_at(directory.path(), &path);
        assert!(message.contains("missing"), "{message}");
        std::fs::write(&path, &bytes).unwrap();
    }
    open(directory.path(), 16).unwrap();
}
