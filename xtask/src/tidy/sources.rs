//! Rules about single source files: length, opening documentation, open ends, names.

/// A file may not be longer, tests included; the aim is 400.
const LINES_MAX: usize = 600;

/// Text files in which an open end is refused, by suffix. Documents may speak about the words.
pub(super) const WITHOUT_MARKS: [&str; 10] =
    [".rs", ".py", ".js", ".go", ".java", ".sh", ".toml", ".yaml", ".yml", "Dockerfile"];

/// Words of an open end, spelt so that this file does not hold them.
const MARKS: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
];

pub(super) fn rust(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!(
            "{path}:{LINES_MAX}: {lines} lines, {LINES_MAX} at most: split it by what it does"
        ));
    }
    if !text.starts_with("//!") {
        findings.push(format!(
            "{path}:1: does not open with `//!`: say in 2 to 6 lines what it is, who calls it, and \
             what always holds"
        ));
    }
    findings
}

pub(super) fn marks(path: &str, text: &str) -> Vec<String> {
    let numbered = text.lines().enumerate();
    numbered
        .filter_map(|(index, line)| {
            let mark = MARKS.iter().find(|mark| line.contains(*mark))?;
            Some(format!("{path}:{}: holds {mark}: finish it", index + 1))
        })
        .collect()
}

pub(super) fn names(paths: &[String]) -> Vec<String> {
    let bad = paths.iter().filter(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        matches!(name, "mod.rs" | "util.rs" | "utils.rs" | "common.rs" | "helpers.rs")
    });
    bad.map(|path| format!("{path}:1: name it after what it holds (`foo.rs` + `foo/part.rs`)"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_and_one_without_documentation_are_found() {
        let long = format!("//! x\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(rust("a.rs", &long).len(), 1);
        assert_eq!(rust("a.rs", "fn main() {}\n").len(), 1);
        assert!(rust("a.rs", "//! x\n").is_empty());
    }

    #[test]
    fn open_ends_are_found_with_their_line() {
        let text = format!("//! x\nfn f() {{ {}() }}\n", MARKS[2]);
        assert_eq!(marks("a.rs", &text), [format!("a.rs:2: holds {}: finish it", MARKS[2])]);
        assert!(marks("a.rs", "//! a to-do list\n").is_empty());
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        let paths = ["a/mod.rs".to_owned(), "a/model.rs".to_owned()];
        assert_eq!(names(&paths).len(), 1);
    }
}
