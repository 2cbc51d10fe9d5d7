//! Data directories made by earlier versions (`examples/fixture.rs` makes them) are read in full. One is
//! kept for each format; none is ever changed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use dormouse_store::conformance::content::{read_all, small};
use dormouse_store::scrub;

#[test]
fn a_directory_of_format_1_is_read_in_full() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("data");
    copy_directory(&fixtures.join("v1"), &copy);
    let report = scrub(&copy).unwrap();
    assert!(report.damage.is_empty(), "{report:?}");
    assert!(report.commits > 0 && report.tables > 0, "{report:?}");
    let expected = std::fs::read_to_string(fixtures.join("v1.txt")).unwrap();
    // The second time it is a directory that this version has written to.
    for _ in 0..2 {
        let found = read_all(&small(&copy)).unwrap();
        assert_eq!(found.join("\n") + "\n", expected);
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_directory(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
