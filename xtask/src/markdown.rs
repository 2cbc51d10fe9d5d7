//! As much of Markdown as the checks need: fenced blocks, titles, links.
//!
//! Used by `tidy` (titles and links) and `docs` (fenced blocks). A line inside a fence is never taken
//! for prose.

/// A document cut into prose and fenced blocks.
#[derive(Debug, Default)]
pub(crate) struct Document<'a> {
    /// Line number, from 1, and text.
    pub(crate) prose: Vec<(usize, &'a str)>,
    pub(crate) fences: Vec<Fence<'a>>,
    /// The line of a fence that is never closed.
    pub(crate) unclosed: Option<usize>,
}

/// One fenced block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fence<'a> {
    /// Line of the opening fence, from 1.
    pub(crate) line: usize,
    /// What follows the backticks.
    pub(crate) info: &'a str,
    pub(crate) lines: Vec<&'a str>,
}

impl<'a> Document<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut document = Self::default();
        let mut open: Option<(usize, Fence<'a>)> = None;
        for (index, line) in text.lines().enumerate() {
            let ticks = fence_ticks(line);
            match &mut open {
                None if ticks >= 3 => {
                    let info = line.trim_start().trim_start_matches('`').trim();
                    let fence = Fence { line: index + 1, info, lines: Vec::new() };
                    open = Some((ticks, fence));
                }
                None => document.prose.push((index + 1, line)),
                Some((width, _)) if closes(line, *width) => {
                    document.fences.extend(open.take().map(|(_, fence)| fence));
                }
                Some((_, fence)) => fence.lines.push(line),
            }
        }
        document.unclosed = open.map(|(_, fence)| fence.line);
        document
    }

    /// Level, text and line of each `#` heading.
    pub(crate) fn headings(&self) -> impl Iterator<Item = (usize, &'a str, usize)> {
        self.prose.iter().filter_map(|&(number, line)| {
            let level = line.bytes().take_while(|&b| b == b'#').count();
            let text = line[level..].strip_prefix(' ')?;
            (1..=6).contains(&level).then_some((level, text.trim(), number))
        })
    }

    /// Targets of inline links, images and reference definitions, with their lines.
    pub(crate) fn links(&self) -> Vec<(usize, &'a str)> {
        let mut links = Vec::new();
        for &(number, line) in &self.prose {
            if let Some(target) = reference_target(line) {
                links.push((number, target));
            }
            for (at, _) in line.match_indices("](") {
                let inside_code = line[..at].matches('`').count() % 2 == 1;
                let rest = &line[at + 2..];
                let end = rest.find([')', ' ']).unwrap_or(rest.len());
                if !inside_code {
                    links.push((number, &rest[..end]));
                }
            }
        }
        links
    }
}

/// The anchor that GitHub gives a heading.
pub(crate) fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let lower = heading.to_lowercase();
    lower.chars().filter(kept).collect::<String>().replace(' ', "-")
}

fn fence_ticks(line: &str) -> usize {
    let trimmed = line.trim_start();
    let ticks = trimmed.bytes().take_while(|&b| b == b'`').count();
    // Three backticks around a word in one line are inline code.
    if trimmed[ticks..].contains('`') { 0 } else { ticks }
}

fn closes(line: &str, width: usize) -> bool {
    let trimmed = line.trim();
    trimmed.len() >= width && trimmed.bytes().all(|b| b == b'`')
}

fn reference_target(line: &str) -> Option<&str> {
    let (label, target) = line.strip_prefix('[')?.split_once("]: ")?;
    (!label.contains(']')).then(|| target.split(' ').next().unwrap_or(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Title\n\nsee [a](a.md#x) and `[b](b.md)`\n\n```sh test\n# not a title\n[c](c.md)\n```\n\n## Two Words, `code`\n[ref]: d.md\n";

    #[test]
    fn fences_are_not_prose() {
        let document = Document::parse(TEXT);
        assert_eq!(
            document.fences,
            [Fence { line: 5, info: "sh test", lines: vec!["# not a title", "[c](c.md)"] }]
        );
        let headings: Vec<_> = document.headings().collect();
        assert_eq!(headings, [(1, "Title", 1), (2, "Two Words, `code`", 10)]);
        assert_eq!(document.links(), [(3, "a.md#x"), (11, "d.md")]);
        assert_eq!(document.unclosed, None);
    }

    #[test]
    fn an_open_fence_is_found_and_a_longer_one_holds_a_shorter() {
        assert_eq!(Document::parse("text\n```sh\nls\n").unclosed, Some(2));
        let nested = Document::parse("````md\n```sh\nls\n```\n````\n");
        assert_eq!(nested.fences.len(), 1);
        assert_eq!(nested.fences[0].lines, ["```sh", "ls", "```"]);
    }

    #[test]
    fn anchors_follow_the_form_of_the_site() {
        assert_eq!(anchor("Two Words, `code`"), "two-words-code");
        assert_eq!(anchor("What stands, and what does not"), "what-stands-and-what-does-not");
    }
}
