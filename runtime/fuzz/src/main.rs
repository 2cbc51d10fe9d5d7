//! `cargo xtask fuzz [--target NAME] [--seconds N] [--seed S]`: runs one target, or each for so long.
//! A finding ends the run with exit code 1. With `--keep N`, the N smallest inputs that covered something
//! new are added to the corpus.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dormouse_fuzz::run::{Budget, corpus, finding_path, fuzz};
use dormouse_fuzz::targets::TARGETS;

#[global_allocator]
static ALLOCATOR: dormouse_fuzz::memory::Counting = dormouse_fuzz::memory::Counting;

fn main() -> Result<()> {
    let (mut only, mut seconds, mut seed, mut keep) = (None, 60, 1, 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--target" => only = Some(value),
            "--seconds" => seconds = value.parse().context("--seconds needs a number")?,
            "--seed" => seed = value.parse().context("--seed needs a number")?,
            "--keep" => keep = value.parse().context("--keep needs a number")?,
            other => bail!("unknown argument {other}: --target, --seconds, --seed or --keep"),
        }
    }
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    if let Some(name) = only.as_deref().filter(|name| !names.contains(name)) {
        bail!("unknown target {name}: one of {}", names.join(", "));
    }
    for target in TARGETS.iter().filter(|t| only.as_deref().is_none_or(|name| name == t.name)) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        let inputs = corpus(&directory)?;
        let budget = Budget::Time(Duration::from_secs(seconds));
        let report = fuzz(target, &inputs, budget, seed).map_err(|finding| {
            let path = finding_path(target.name);
            let kept = std::fs::write(&path, &finding.input);
            kept.map_or_else(anyhow::Error::from, |()| {
                anyhow::anyhow!(
                    "{}: {}; the input is {}",
                    target.name,
                    finding.what,
                    path.display()
                )
            })
        })?;
        println!(
            "{}: {} inputs, {} places covered, {} added to a corpus of {}; slowest {:?}, largest {} KB",
            target.name,
            report.inputs,
            report.covered,
            report.added.len(),
            inputs.len(),
            report.slowest,
            report.memory_bytes >> 10,
        );
        let mut added: Vec<_> = report.added.iter().collect();
        added.sort_by_key(|input| input.len());
        for (number, input) in added.into_iter().take(keep).enumerate() {
            std::fs::write(directory.join(format!("found-{seed}-{number}")), input)?;
        }
    }
    Ok(())
}
