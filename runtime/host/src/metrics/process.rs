//! What the operating system says about this process. Read when metrics are asked for.

use std::fs::read_to_string;

/// Memory and processor time of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    pub resident_bytes: u64,
    pub peak_resident_bytes: u64,
    pub cpu_seconds: f64,
}

/// Clock ticks per second of `/proc/self/stat`: fixed at 100 by Linux for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// `None` on systems without `/proc`.
#[must_use]
pub fn usage() -> Option<ProcessUsage> {
    let status = read_to_string("/proc/self/status").ok()?;
    let stat = read_to_string("/proc/self/stat").ok()?;
    Some(ProcessUsage {
        resident_bytes: kilobytes(&status, "VmRSS:")? * 1024,
        peak_resident_bytes: kilobytes(&status, "VmHWM:")? * 1024,
        cpu_seconds: cpu_seconds(&stat)?,
    })
}

fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15, counted after the command's closing bracket, since a command may hold blanks.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: Vec<f64> = ticks.map(str::parse).collect::<Result<_, _>>().ok()?;
    (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_brackets_and_blanks_does_not_confuse() {
        let stat = "7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (a) S 1"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_memory() {
        let usage = usage().unwrap();
        assert!(usage.resident_bytes > 100_000);
        assert!(usage.peak_resident_bytes >= usage.resident_bytes);
    }
}
