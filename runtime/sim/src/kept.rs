//! The kept schedules, `seeds.txt`: each failed once. A line is the seed, overrides of its scenario
//! where it was shrunk (`name=value,name=value`), and its story.

use crate::shrink::Overrides;

/// A schedule that failed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub seed: u64,
    pub overrides: Overrides,
    pub story: String,
}

/// All kept schedules, or which line cannot be read.
pub fn kept() -> Result<Vec<Kept>, String> {
    let lines = include_str!("../seeds.txt").lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|(index, line)| {
            parse(line).map_err(|error| format!("seeds.txt line {}: {error}", index + 1))
        })
        .collect()
}

fn parse(line: &str) -> Result<Kept, String> {
    let (seed, rest) = line.split_once(' ').ok_or("expected a seed and its story")?;
    let seed = seed.parse().map_err(|_| format!("`{seed}` is not a seed"))?;
    let (overrides, story) = match rest.split_once(' ') {
        Some((first, story)) if first.contains('=') => (Overrides::parse(first)?, story),
        _ => (Overrides::default(), rest),
    };
    Ok(Kept { seed, overrides, story: story.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kept_line_can_be_read() {
        let kept = kept().unwrap();
        assert!(!kept.is_empty());
    }

    #[test]
    fn a_line_names_a_seed_overrides_and_a_story() {
        let kept = parse("7 crashes=0,shards=2 it was lost").unwrap();
        assert_eq!((kept.seed, kept.story.as_str()), (7, "it was lost"));
        assert_eq!(kept.overrides.to_string(), "crashes=0,shards=2");
        assert!(parse("7 crashes=x it was lost").is_err());
        assert!(parse("7 crushes=1 it was lost").unwrap_err().contains("unknown name `crushes`"));
        assert!(parse("seven it was lost").is_err());
    }
}
