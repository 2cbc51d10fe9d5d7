//! Makes the data directory that later versions have to read:
//! `cargo run -p dormouse-store --example fixture -- runtime/store/tests/fixtures/v1` (the directory must
//! not exist). Beside it `DIR.txt` says what is in it. `tests/fixture.rs` compares the two.

#![allow(clippy::unwrap_used, reason = "an example that cannot go on ends")]

use std::path::{Path, PathBuf};

use dormouse_store::conformance::content;

fn main() {
    let directory = PathBuf::from(std::env::args().nth(1).expect("usage: fixture DIR"));
    content::fill(&directory).unwrap();
    // Reading writes to a directory: in a copy.
    let copy = directory.with_extension("copy");
    copy_directory(&directory, &copy);
    let lines = content::read_all(&content::small(&copy)).unwrap();
    std::fs::remove_dir_all(copy).unwrap();
    std::fs::write(directory.with_extension("txt"), lines.join("\n") + "\n").unwrap();
    // Empty files are made again, and git keeps no empty directories anyway.
    std::fs::remove_file(directory.join("lock")).unwrap();
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
