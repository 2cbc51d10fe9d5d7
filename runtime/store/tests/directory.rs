//! What opening a data directory refuses, and what it says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use dormouse_store::{EmbeddedOptions, EmbeddedStore, Store, StoreError, stored_partitions};

fn open(directory: &Path, partitions: u16) -> Result<(), StoreError> {
    EmbeddedStore::open(EmbeddedOptions::new(directory, partitions))?.0.close()
}

fn refusal(directory: &Path, partitions: u16) -> String {
    let error = open(directory, partitions).expect_err("it is refused");
    assert!(matches!(error, StoreError::Incompatible { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&*directory.to_string_lossy()), "{message}");
    message
}

#[test]
fn the_number_of_partitions_is_fixed_when_the_directory_is_made() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(stored_partitions(directory.path()), None);
    open(directory.path(), 16).unwrap();
    assert_eq!(stored_partitions(directory.path()), Some(16));
    let message = refusal(directory.path(), 32);
    assert!(message.contains("16 partitions") && message.contains("32"), "{message}");
    open(directory.path(), 16).unwrap();
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

#[test]
fn other_versions_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), 16).unwrap();
    let version = directory.path().join("version");
    let text = std::fs::read_to_string(&version).unwrap();
    std::fs::write(&version, text.replace("format 1", "format 2")).unwrap();
    let message = refusal(directory.path(), 16);
    assert!(message.contains("format 2") && message.contains("format 1"), "{message}");
    std::fs::write(&version, text.replace("application", "name")).unwrap();
    assert!(refusal(directory.path(), 16).contains("application"));
    std::fs::write(&version, "something else\n").unwrap();
    assert!(refusal(directory.path(), 16).contains("not a data directory"));
    std::fs::remove_file(&version).unwrap();
    assert!(refusal(directory.path(), 16).contains("missing"));
    std::fs::write(&version, text).unwrap();
    open(directory.path(), 16).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let message = open(&file, 16).unwrap_err().to_string();
    assert!(message.contains(&*file.to_string_lossy()), "{message}");
}
