//! Flips bytes all over a data directory that has rows in base and log, and cuts and removes each of
//! its files. What was done is named by a check on demand and by whoever opens and reads the directory,
//! or else every row reads exactly as before.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dormouse_store::conformance::content::{fill, read_all, small};
use dormouse_store::conformance::open_shard;
use dormouse_store::{EmbeddedStore, Store, StoreError, scrub};

/// Of larger files, every so many bytes are flipped. A prime: no field is always missed.
const STRIDE: usize = 29;
/// Files up to this size are flipped byte by byte.
const SMALL_BYTES: usize = 700;

struct Place {
    pristine: tempfile::TempDir,
    content: Vec<String>,
}

impl Place {
    fn new() -> Self {
        let pristine = tempfile::tempdir().unwrap();
        fill(pristine.path()).unwrap();
        // Of a copy, since reading writes as well.
        let content = read_all(&small(copy(pristine.path()).path())).unwrap();
        assert!(content.len() > 30, "{} lines", content.len());
        Self { pristine, content }
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        list(self.pristine.path(), &mut files);
        files.sort();
        let root = self.pristine.path();
        let relative = |file: &PathBuf| file.strip_prefix(root).unwrap().to_path_buf();
        files.iter().map(relative).filter(|file| file != Path::new("lock")).collect()
    }

    /// Does `change` to `file` of a copy and demands that this is told or makes no difference.
    /// Whether it was told. What was told is read too if it `is_read`.
    fn check(&self, file: &Path, (what, is_read): (&str, bool), change: &dyn Fn(&Path)) -> bool {
        let image = copy(self.pristine.path());
        change(&image.path().join(file));
        let context = format!("{}, {what}", file.display());
        let told = match scrub(image.path()) {
            Ok(report) => report.damage.iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        };
        for told in &told {
            assert!(names(told, image.path(), file), "{context}: {told}");
        }
        if !told.is_empty() && !is_read {
            return true;
        }
        match read_all(&small(image.path())) {
            Ok(content) => {
                assert!(content == self.content, "{context}: read silently, told: {told:?}");
            }
            Err(error) => {
                let message = error.to_string();
                assert!(names(&message, image.path(), file), "{context}: {message}");
                assert!(!told.is_empty(), "{context}: not found by the check: {message}");
            }
        }
        !told.is_empty()
    }
}

/// Whether a message names the file that was changed. The two files that name each other's checksum
/// cannot tell which of them it is.
fn names(message: &str, root: &Path, file: &Path) -> bool {
    let named = |file: &Path| message.contains(&*root.join(file).to_string_lossy());
    let of_base = |name: &str| name == "current" || name.starts_with('v');
    let name = file.file_name().unwrap().to_string_lossy();
    named(file) || (file.starts_with("base") && of_base(&name) && message.contains("current"))
        // What a whole log lacks is named by the part that is missing.
        || (file.starts_with("log") && message.contains("log/"))
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    list(from, &mut files);
    for file in files {
        let target = to.path().join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(file, target).unwrap();
    }
    to
}

#[test]
fn a_flipped_byte_anywhere_is_named_or_makes_no_difference() {
    let place = Place::new();
    let mut log_told = 0;
    for file in place.files() {
        let bytes = std::fs::read(place.pristine.path().join(&file)).unwrap();
        let stride = if bytes.len() <= SMALL_BYTES { 1 } else { STRIDE };
        let mut told = 0;
        for at in (0..bytes.len()).step_by(stride) {
            let flip = |path: &Path| {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << (at % 8);
                std::fs::write(path, bytes).unwrap();
            };
            told += usize::from(place.check(&file, (&format!("byte {at}"), at % 7 == 0), &flip));
        }
        let flipped = bytes.len().div_ceil(stride);
        println!("{}: {told} of {flipped} flips told", file.display());
        // What lies behind the last record of the log carries nothing, nor does an old version file.
        let current = std::fs::read(place.pristine.path().join("base/current")).unwrap()[0];
        let is_old = file.to_string_lossy().starts_with("base/v")
            && file != Path::new(&format!("base/v{current}"));
        let carries_all = !file.starts_with("log") && !is_old;
        log_told += if file.starts_with("log") { told } else { 0 };
        assert!(!carries_all || told == flipped, "{}: {told} of {flipped}", file.display());
    }
    assert!(log_told > 50, "hardly anything is in the log");
}

#[test]
fn a_file_that_is_cut_or_gone_is_named_or_makes_no_difference() {
    let place = Place::new();
    for file in place.files() {
        let bytes = std::fs::read(place.pristine.path().join(&file)).unwrap();
        for length in [0, 1, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let cut = |path: &Path| std::fs::write(path, &bytes[..length]).unwrap();
            place.check(&file, (&format!("cut to {length} bytes"), true), &cut);
        }
        let longer = |path: &Path| std::fs::write(path, [&bytes[..], b"more"].concat()).unwrap();
        place.check(&file, ("four bytes more", true), &longer);
        place.check(&file, ("removed", true), &|path| std::fs::remove_file(path).unwrap());
    }
}

#[test]
fn the_scrub_of_a_running_store_finds_damage_that_nobody_reads() {
    let place = Place::new();
    let image = copy(place.pristine.path());
    let table = place.files().into_iter().find(|file| file.starts_with("base/tables")).unwrap();
    let mut options = small(image.path());
    options.scrub_interval = Some(Duration::from_secs(1));
    let status = options.scrub_status.clone();
    let (store, _) = EmbeddedStore::open(options).unwrap();
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < deadline, "never: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until("a pass without damage", &|| status.passes() > 0);
    assert_eq!(status.damaged(), 0);
    assert!(status.bytes() > 0);
    let mut bytes = std::fs::read(image.path().join(&table)).unwrap();
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    // In place, as a disk does it.
    std::fs::write(image.path().join(&table), &bytes).unwrap();
    until("damage is found", &|| status.damaged() == 1);
    // A restored file is whole again.
    bytes[at] ^= 1;
    std::fs::write(image.path().join(&table), &bytes).unwrap();
    until("no damage any more", &|| status.damaged() == 0);
    store.close().unwrap();
}

#[test]
fn a_directory_in_use_is_not_checked() {
    let place = Place::new();
    let image = copy(place.pristine.path());
    let (store, _) = EmbeddedStore::open(small(image.path())).unwrap();
    let shard = open_shard(&*store, 0, &[0]);
    assert!(matches!(scrub(image.path()), Err(StoreError::Locked { .. })));
    drop(shard);
    store.close().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let message = scrub(empty.path()).unwrap_err().to_string();
    assert!(message.contains("not a data directory"), "{message}");
}
