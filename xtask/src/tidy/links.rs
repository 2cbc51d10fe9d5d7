//! Rules about documents: one title each, and links inside the checkout lead somewhere: `guide.md#heading`
//! to a heading, `tests/x.rs#name` to a function, so that a document may name the tests of what it says.

use std::collections::{BTreeMap, BTreeSet};

use crate::markdown::{Document, anchor};

/// What links may lead to.
struct Targets<'a> {
    /// Files, and the directories that hold them.
    paths: BTreeSet<&'a str>,
    documents: BTreeMap<&'a str, Document<'a>>,
    /// Rust files and their texts.
    sources: BTreeMap<&'a str, &'a str>,
}

/// Checks `documents` (path and text); a link may name any of `paths`, a directory of one, a heading, or a
/// function of one of the Rust files `sources`.
pub(super) fn check(
    documents: &[(String, String)],
    sources: &[(String, String)],
    paths: &[String],
) -> Vec<String> {
    let parsed = documents.iter().map(|(path, text)| (path.as_str(), Document::parse(text)));
    let texts = sources.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    let mut targets = Targets {
        paths: BTreeSet::from([""]),
        documents: parsed.collect(),
        sources: texts.collect(),
    };
    for path in paths {
        targets.paths.insert(path);
        targets.paths.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
    }

    let mut findings = Vec::new();
    for (path, document) in &targets.documents {
        findings.extend(titles(path, document));
        for (line, link) in document.links() {
            if let Some(problem) = broken(path, link, &targets) {
                findings.push(format!("{path}:{line}: link '{link}': {problem}"));
            }
        }
    }
    findings
}

fn titles(path: &str, document: &Document<'_>) -> Vec<String> {
    let mut findings = Vec::new();
    let titles: Vec<usize> =
        document.headings().filter(|heading| heading.0 == 1).map(|heading| heading.2).collect();
    if titles.is_empty() {
        findings.push(format!("{path}:1: no title: begin with one `# ` line"));
    }
    for line in titles.iter().skip(1) {
        findings.push(format!("{path}:{line}: a second title: use `##`"));
    }
    if let Some(line) = document.unclosed {
        findings.push(format!("{path}:{line}: this fenced block is never closed"));
    }
    findings
}

fn broken(path: &str, link: &str, targets: &Targets<'_>) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let resolved = if file.is_empty() {
        path.to_owned()
    } else {
        let Some(resolved) = resolve(path, file) else {
            return Some("leads out of the checkout".to_owned());
        };
        resolved
    };
    if !targets.paths.contains(resolved.as_str()) {
        return Some(format!("there is no '{resolved}'"));
    }
    if heading.is_empty() {
        return None;
    }
    if let Some(source) = targets.sources.get(resolved.as_str()) {
        let found = source.contains(&format!("fn {heading}("));
        return (!found).then(|| format!("'{resolved}' has no function '{heading}'"));
    }
    let Some(document) = targets.documents.get(resolved.as_str()) else {
        return Some("only a document has headings".to_owned());
    };
    let found = document.headings().any(|h| anchor(h.1) == heading);
    (!found).then(|| format!("'{resolved}' has no heading for '#{heading}'"))
}

/// `link` as seen from the directory of `path`; `None` if it climbs above the checkout.
fn resolve(path: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    if link.starts_with('/') {
        return None;
    }
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let documents = [
            ("docs/a.md".to_owned(), text.to_owned()),
            ("README.md".to_owned(), "# R\n## Two Words\n".to_owned()),
        ];
        let sources = [("src/a.rs".to_owned(), "fn it_works() {}\n".to_owned())];
        let paths = ["docs/a.md", "README.md", "k8s/base/x.yaml", "src/a.rs"];
        check(&documents, &sources, &paths.map(ToOwned::to_owned))
    }

    #[test]
    fn good_links_and_one_title_pass() {
        let text =
            "# A\n[r](../README.md#two-words) [k](../k8s) [s](#a) [w](https://example.org)\n";
        assert_eq!(findings(text), Vec::<String>::new());
        assert_eq!(findings("# A\n[t](../src/a.rs#it_works)\n"), Vec::<String>::new());
    }

    #[test]
    fn broken_links_are_found_with_their_line() {
        assert_eq!(
            findings("# A\n\n[x](b.md)\n"),
            ["docs/a.md:3: link 'b.md': there is no 'docs/b.md'"]
        );
        assert_eq!(
            findings("# A\n[x](../README.md#three)\n"),
            ["docs/a.md:2: link '../README.md#three': 'README.md' has no heading for '#three'"]
        );
        assert_eq!(findings("# A\n[x](../../up.md)\n").len(), 1);
        assert_eq!(
            findings("# A\n[x](../src/a.rs#it)\n"),
            ["docs/a.md:2: link '../src/a.rs#it': 'src/a.rs' has no function 'it'"]
        );
    }

    #[test]
    fn titles_are_counted() {
        assert_eq!(findings("text\n").len(), 1);
        assert_eq!(findings("# A\n# B\n"), ["docs/a.md:2: a second title: use `##`"]);
        assert_eq!(findings("# A\n```sh\n").len(), 1);
    }
}
