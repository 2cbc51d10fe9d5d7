//! A fenced block of a document as something to run: its mark, its script, its expected output.

use crate::markdown::{Document, Fence};

/// Commands between two fences.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Line of the opening fence, from 1.
    pub(super) line: usize,
    pub(super) script: String,
    pub(super) mark: Mark,
}

/// What becomes of a block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Must succeed, and print these lines if any are given.
    Run { output: Option<Vec<String>> },
    /// Must open this port and stays until the document ends.
    Background { port: u16 },
    /// For the reader only.
    NotRun,
}

impl Block {
    pub(super) fn is_run(&self) -> bool {
        self.mark != Mark::NotRun
    }
}

/// All blocks of commands in `text`, or each `LINE: problem`.
pub(super) fn parse(text: &str) -> Result<Vec<Block>, Vec<String>> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut problems = Vec::new();
    let mut after_run = false;
    for fence in Document::parse(text).fences {
        let (language, mark) = fence.info.split_once(' ').unwrap_or((fence.info, ""));
        let parsed = match language {
            "sh" => commands(&fence, mark.trim()).map(|block| blocks.push(block)),
            "bash" | "shell" | "console" | "zsh" => Err("write ```sh for commands".to_owned()),
            "text" if mark == "output" => expect(&fence, after_run, blocks.last_mut()),
            _ => Ok(()),
        };
        after_run = language == "sh";
        if let Err(problem) = parsed {
            problems.push(format!("{}: {problem}", fence.line));
        }
    }
    if problems.is_empty() { Ok(blocks) } else { Err(problems) }
}

fn commands(fence: &Fence<'_>, mark: &str) -> Result<Block, String> {
    let words: Vec<&str> = mark.split_whitespace().collect();
    let mark = match words.as_slice() {
        ["test"] => Mark::Run { output: None },
        ["test", "background", port] => {
            let number = port.strip_prefix("port=").and_then(|n| n.parse().ok());
            let port = number.ok_or_else(|| format!("'{port}' should be port=NUMBER"))?;
            Mark::Background { port }
        }
        ["not-run:", _, ..] => Mark::NotRun,
        ["not-run:" | "not-run"] => return Err("say why: ```sh not-run: REASON".to_owned()),
        _ => {
            return Err("mark the block: ```sh test, ```sh test background port=N, or \
                        ```sh not-run: REASON"
                .to_owned());
        }
    };
    Ok(Block { line: fence.line, script: fence.lines.join("\n"), mark })
}

fn expect(fence: &Fence<'_>, after_run: bool, last: Option<&mut Block>) -> Result<(), String> {
    match last.map(|block| &mut block.mark) {
        Some(Mark::Run { output }) if after_run => {
            *output = Some(fence.lines.iter().map(|line| (*line).to_owned()).collect());
            Ok(())
        }
        _ => Err("```text output belongs right after a block ```sh test".to_owned()),
    }
}

/// Whether `printed` is what the document shows; a line `...` stands for any number of lines.
pub(super) fn matches(expected: &[String], printed: &[&str]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line.trim() == "..." => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        Some((line, rest)) => printed.split_first().is_some_and(|(first, others)| {
            first.trim_end() == line.trim_end() && matches(rest, others)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read() {
        let text = "```sh test\nls\n```\n```text output\na\n```\n\
                    ```sh test background port=80\nserve\n```\n```sh not-run: needs a cluster\nk\n```\n\
                    ```yaml\na: 1\n```\n";
        let blocks = parse(text).unwrap();
        let marks: Vec<&Mark> = blocks.iter().map(|block| &block.mark).collect();
        let output = Some(vec!["a".to_owned()]);
        assert_eq!(marks, [&Mark::Run { output }, &Mark::Background { port: 80 }, &Mark::NotRun]);
        assert_eq!(blocks[1].line, 7);
    }

    #[test]
    fn a_block_without_a_mark_or_reason_is_refused() {
        for bad in ["sh", "sh tset", "sh not-run:", "sh test background", "bash", "sh test port=1"]
        {
            let found = parse(&format!("```{bad}\nls\n```\n")).unwrap_err();
            assert!(found[0].starts_with("1: "), "{bad}: {found:?}");
        }
    }

    #[test]
    fn output_without_commands_is_refused() {
        assert!(parse("```text output\na\n```\n").is_err());
        assert!(parse("```sh not-run: because\nls\n```\n```text output\na\n```\n").is_err());
    }

    #[test]
    fn dots_stand_for_any_lines() {
        let expected = ["a", "...", "b"].map(ToOwned::to_owned);
        assert!(matches(&expected, &["a", "b"]));
        assert!(matches(&expected, &["a", "x", "y", "b"]));
        assert!(!matches(&expected, &["a", "x"]));
        assert!(!matches(&expected, &["a", "b", "c"]));
    }
}
