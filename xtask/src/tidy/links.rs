//! Rules about documents: one title each, and links inside the checkout lead somewhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::markdown::{Document, anchor};

/// Checks `documents` (path and text); a link may name any of `paths`, a directory of one, or a heading.
pub(super) fn check(documents: &[(String, String)], paths: &[String]) -> Vec<String> {
    let parsed: BTreeMap<&str, Document<'_>> =
        documents.iter().map(|(path, text)| (path.as_str(), Document::parse(text))).collect();
    let mut targets: BTreeSet<&str> = BTreeSet::from([""]);
    for path in paths {
        targets.insert(path);
        targets.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
    }

    let mut findings = Vec::new();
    for (path, document) in &parsed {
        findings.extend(titles(path, document));
        for (line, link) in document.links() {
            if let Some(problem) = broken(path, link, &targets, &parsed) {
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

fn broken(
    path: &str,
    link: &str,
    targets: &BTreeSet<&str>,
    documents: &BTreeMap<&str, Document<'_>>,
) -> Option<String> {
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
    if !targets.contains(resolved.as_str()) {
        return Some(format!("there is no '{resolved}'"));
    }
    if heading.is_empty() {
        return None;
    }
    let Some(document) = documents.get(resolved.as_str()) else {
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
        let paths = ["docs/a.md", "README.md", "k8s/base/x.yaml"].map(ToOwned::to_owned);
        check(&documents, &paths)
    }

    #[test]
    fn good_links_and_one_title_pass() {
        let text =
            "# A\n[r](../README.md#two-words) [k](../k8s) [s](#a) [w](https://example.org)\n";
        assert_eq!(findings(text), Vec::<String>::new());
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
    }

    #[test]
    fn titles_are_counted() {
        assert_eq!(findings("text\n").len(), 1);
        assert_eq!(findings("# A\n# B\n"), ["docs/a.md:2: a second title: use `##`"]);
        assert_eq!(findings("# A\n```sh\n").len(), 1);
    }
}
