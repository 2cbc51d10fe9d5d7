//! What can be said about a Dockerfile without building it.

/// `files` are the project's, relative to the root, which is also the build's context.
pub(super) fn check(path: &str, text: &str, files: &[String], toolchain: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let found: Vec<String> = match words.as_slice() {
            ["COPY", rest @ ..] if !rest.iter().any(|word| word.starts_with("--from=")) => {
                copied(rest, files)
            }
            ["FROM", image, ..] => compiler(image, toolchain).into_iter().collect(),
            _ => Vec::new(),
        };
        findings.extend(found.iter().map(|problem| format!("{path}:{}: {problem}", index + 1)));
    }
    findings
}

fn copied(words: &[&str], files: &[String]) -> Vec<String> {
    let operands: Vec<&&str> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let sources = operands.split_last().map_or(&[][..], |(_, sources)| sources);
    let present = |source: &str| {
        let inside = format!("{}/", source.trim_end_matches('/'));
        files.iter().any(|file| file == source || file.starts_with(&inside))
    };
    let missing = sources.iter().filter(|source| !present(source));
    missing.map(|source| format!("COPY of '{source}', which is not in the checkout")).collect()
}

fn compiler(image: &str, toolchain: &str) -> Option<String> {
    let version = image.strip_prefix("rust:")?.split('-').next()?;
    let pinned = toolchain.contains(&format!("channel = \"{version}\""));
    (!pinned).then(|| format!("builds with Rust {version}, rust-toolchain.toml names another"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_must_exist_and_the_compiler_must_be_the_pinned_one() {
        let files = ["Cargo.toml", "sdk/src/lib.rs"].map(ToOwned::to_owned);
        let text = "FROM rust:1.2.3-alpine AS build\nCOPY Cargo.toml sdk ./\nCOPY --chown=1:1 sd /sd\n\
                    COPY --from=build /x /x\n";
        assert_eq!(
            check("D", text, &files, "channel = \"1.2.3\"\n"),
            ["D:3: COPY of 'sd', which is not in the checkout"]
        );
        assert_eq!(check("D", text, &files, "channel = \"1.2.4\"\n").len(), 2);
    }
}
