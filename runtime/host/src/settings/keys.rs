//! Every setting that can be given by name: in a configuration file, with `--set`, or by the flag
//! of the same name. `docs/configuration.md` shows this table; a test compares the two.

use std::collections::BTreeMap;
use std::time::Duration;

use dormouse_protocol::partition::PARTITIONS_MAX;
use dormouse_sdk::manifest::nearest;
use dormouse_sdk::manifest::values::{parse_duration, parse_size};

use crate::settings::memory::{MEMORY_MIN, Shares};
use crate::settings::{LogFormat, Settings, StoreKind};

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    /// What a value looks like.
    pub form: &'static str,
    /// The default, as it would be written; or a description in brackets.
    pub default: &'static str,
    pub summary: &'static str,
    /// Answers what was expected when the value does not fit.
    set: fn(&mut Settings, &str) -> Result<(), String>,
}

/// All settings, in the order in which they take effect: `memory` first, since others have a share
/// of it as their default.
pub const KEYS: &[Key] = &[
    Key {
        name: "memory",
        form: "size",
        default: "512MB",
        summary: "Bound of the process's peak resident memory. Buffers without a size of their own \
                  get a share of it.",
        set: |s, v| size(v, MEMORY_MIN).map(|bytes| s.share_memory(bytes)),
    },
    Key {
        name: "data",
        form: "path",
        default: "(`.dormouse` beside the first manifest)",
        summary: "Data directory of the embedded store; made when it does not exist.",
        set: |s, v| path(v).map(|data| s.store.data = data),
    },
    Key {
        name: "store",
        form: "`embedded` or `memory`",
        default: "embedded",
        summary: "Where state and messages are kept. With `memory` everything is gone with the process.",
        set: |s, v| one_of(v, &STORES).map(|kind| s.store.kind = kind),
    },
    Key {
        name: "allow-orphans",
        form: "`true` or `false`",
        default: "false",
        summary: "Start although an egress that still has unconfirmed records is no longer in the \
                  manifest, or has lost a queue (a topic of the playground).",
        set: |s, v| boolean(v).map(|allow| s.store.allow_orphans = allow),
    },
    Key {
        name: "shards",
        form: "number, or `auto`",
        default: "auto",
        summary: "Threads that run functions; `auto` is one per core. At most one per partition.",
        set: |s, v| auto(v, 1, SHARDS_MAX).map(|shards| s.runtime.shards = shards),
    },
    Key {
        name: "partitions",
        form: "number, or `auto`",
        default: "auto",
        summary: "Units in which ids are placed, fixed when a data directory is made; `auto` is what \
                  the data directory has, 128 for a new one.",
        set: |s, v| {
            let partitions = auto(v, 1, usize::from(PARTITIONS_MAX))?;
            s.runtime.partitions = partitions.and_then(|count| u16::try_from(count).ok());
            Ok(())
        },
    },
    Key {
        name: "idle-sleep",
        form: "duration",
        default: "60s",
        summary: "An instance without messages for so long is put to sleep: its memory is given back.",
        set: |s, v| duration(v).map(|idle| s.runtime.idle_sleep = idle),
    },
    Key {
        name: "stall-after",
        form: "duration, or `off`",
        default: "10s",
        summary: "A shard, function, egress or store that has work and finishes none of it for so long is \
                  said to stand still: in the log, in `dormouse_stalled_seconds`, and at `/readyz`.",
        set: |s, v| duration_or_off(v).map(|after| s.runtime.stall_after = after),
    },
    Key {
        name: "stop-timeout",
        form: "duration",
        default: "30s",
        summary: "A process that was asked to stop gives requests in flight so long to finish, and \
                  calls of functions two seconds of it. What is not finished is done again at \
                  the next start.",
        set: |s, v| duration(v).map(|stop| s.runtime.stop_timeout = stop),
    },
    Key {
        name: "admin",
        form: "`host:port`, or `off`",
        default: "127.0.0.1:9095",
        summary: "Where `/healthz`, `/readyz` and `/metrics` listen.",
        set: |s, v| listen(v).map(|address| s.admin.listen = address),
    },
    Key {
        name: "log.format",
        form: "`text` or `json`",
        default: "text",
        summary: "Form of the log lines on standard error.",
        set: |s, v| one_of(v, &FORMATS).map(|format| s.log.format = format),
    },
    Key {
        name: "log.filter",
        form: "directives",
        default: "warn",
        summary: "Which log lines are written: `warn`, or `info,dormouse_store=debug`. The environment \
                  variable `DORMOUSE_LOG` stands between a configuration file and `--set`.",
        set: |s, v| text(v).map(|filter| s.log.filter = filter),
    },
    Key {
        name: "embedded.segment",
        form: "size",
        default: "16MB",
        summary: "Length of one file of the embedded store's log.",
        set: |s, v| size(v, MIB).map(|bytes| s.store.segment_bytes = bytes),
    },
    Key {
        name: "embedded.log",
        form: "size",
        default: "128MB",
        summary: "Length of the log at which its changes are moved to the base. Bounds the time that \
                  a restart takes.",
        set: |s, v| size(v, MIB).map(|bytes| s.store.log_bytes_max = bytes),
    },
    Key {
        name: "embedded.dirty",
        form: "size",
        default: "(three thirty-seconds of `memory` without 32MB)",
        summary: "Changes held in memory that are not in the base yet; twice as much makes new work wait.",
        set: |s, v| size(v, MIB).map(|bytes| s.store.dirty_bytes_max = bytes),
    },
    Key {
        name: "embedded.cache",
        form: "size",
        default: "(a sixteenth of `memory` without 32MB)",
        summary: "Blocks of the base kept in memory.",
        set: |s, v| size(v, MIB).map(|bytes| s.store.cache_bytes = bytes),
    },
    Key {
        name: "embedded.scrub",
        form: "duration, or `off`",
        default: "24h",
        summary: "The whole base is read and checked for damage once in so long, with 1 to 32 MB/s.",
        set: |s, v| duration_or_off(v).map(|interval| s.store.scrub_interval = interval),
    },
    Key {
        name: "limits.backlog",
        form: "size",
        default: "(an eighth of `memory` without 32MB)",
        summary: "Messages accepted and not finished that are held in memory; beyond it, or 64 times \
                  as much in the store, ingresses wait.",
        set: |s, v| size(v, MIB).map(|bytes| s.limits.backlog_bytes = bytes),
    },
    Key {
        name: "limits.bodies",
        form: "size",
        default: "(three thirty-seconds of `memory` without 32MB)",
        summary: "Bodies of requests that are being received or not durable yet; more wait. A quarter of \
                  it is for bodies up to 64KB; a body larger than the rest is refused.",
        set: |s, v| size(v, MIB).map(|bytes| s.limits.bodies_bytes = bytes),
    },
    Key {
        name: "limits.mailbox-messages",
        form: "number",
        default: "10000",
        summary: "Messages of one address held in memory; later ones wait in the store.",
        set: |s, v| count(v).map(|count| s.limits.mailbox_messages = count),
    },
    Key {
        name: "limits.mailbox",
        form: "size",
        default: "1MB",
        summary: "Messages of one address held in memory, in bytes; later ones wait in the store.",
        set: |s, v| size(v, 1).map(|bytes| s.limits.mailbox_bytes = bytes),
    },
    Key {
        name: "limits.batch-messages",
        form: "number",
        default: "1000",
        summary: "Messages given to a function in one invocation.",
        set: |s, v| count(v).map(|count| s.limits.batch_messages = count),
    },
    Key {
        name: "limits.batch",
        form: "size",
        default: "768KB",
        summary: "Messages given to a function in one invocation, in bytes; one message may be larger.",
        set: |s, v| size(v, 1).map(|bytes| s.limits.batch_bytes = bytes),
    },
    Key {
        name: "limits.in-flight",
        form: "number",
        default: "16384",
        summary: "Invocations that one shard has under way; one function type as many of them as places are free.",
        set: |s, v| count(v).map(|count| s.limits.in_flight = count),
    },
    Key {
        name: "limits.channel-window",
        form: "size",
        default: "256KB",
        summary: "Unconfirmed messages from one partition to another held in memory; more wait in \
                  the store.",
        set: |s, v| size(v, 1).map(|bytes| s.limits.channel_window_bytes = bytes),
    },
    Key {
        name: "limits.egress-window",
        form: "number",
        default: "256",
        summary: "Unconfirmed records of one partition that one egress is handed; more wait in the store.",
        set: |s, v| count(v).map(|count| s.limits.egress_window = count),
    },
    Key {
        name: "limits.retry-delay-min",
        form: "duration",
        default: "1s",
        summary: "First pause of an address whose function failed.",
        set: |s, v| duration(v).map(|delay| s.limits.retry_delay_min = delay),
    },
    Key {
        name: "limits.retry-delay-max",
        form: "duration",
        default: "5min",
        summary: "Longest pause of an address whose function keeps failing.",
        set: |s, v| duration(v).map(|delay| s.limits.retry_delay_max = delay),
    },
    Key {
        name: "limits.dead-letter-messages",
        form: "number",
        default: "10000",
        summary: "Dead letters that one partition keeps. At the bound a message that would become one \
                  stays, and blocks its address.",
        set: |s, v| count(v).map(|count| s.limits.dead_letter_messages = count as u64),
    },
    Key {
        name: "limits.dead-letters",
        form: "size",
        default: "8MB",
        summary: "The same, in bytes; one may be larger.",
        set: |s, v| size(v, 1).map(|bytes| s.limits.dead_letter_bytes = bytes),
    },
];

/// Shards of one process at most.
pub const SHARDS_MAX: usize = 256;

const MIB: u64 = 1024 * 1024;
const STORES: [(&str, StoreKind); 2] =
    [("embedded", StoreKind::Embedded), ("memory", StoreKind::Memory)];
const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// What was given, by key; a later layer replaces an earlier one.
#[derive(Clone, Debug, Default)]
pub struct Given {
    values: BTreeMap<&'static str, (String, String)>,
}

impl Given {
    /// Takes a value; `origin` names the key and where it was written (`--memory`). An unknown key is answered with the
    /// nearest one.
    pub fn put(&mut self, name: &str, value: &str, origin: &str) -> Result<(), String> {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            return Err(match nearest(name, &names) {
                Some(near) => format!("unknown key `{name}`; did you mean `{near}`?"),
                None => format!("unknown key `{name}`; all keys are in docs/configuration.md"),
            });
        };
        let value = (value.to_owned(), origin.to_owned());
        self.values.insert(key.name, value);
        Ok(())
    }

    /// Applies everything to `settings`. All values that do not fit are answered at once.
    pub fn apply(&self, settings: &mut Settings) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        for key in KEYS {
            let Some((value, origin)) = self.values.get(key.name) else {
                continue;
            };
            if let Err(expected) = (key.set)(settings, value) {
                wrong.push(format!("{origin}: expected {expected}, found `{value}`"));
            }
        }
        if wrong.is_empty() {
            wrong.extend(settings.contradiction());
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

impl Settings {
    fn share_memory(&mut self, bytes: u64) {
        let shares = Shares::of(bytes);
        self.runtime.memory_bytes = bytes;
        self.store.dirty_bytes_max = shares.dirty;
        self.store.cache_bytes = shares.cache;
        self.limits.backlog_bytes = shares.backlog;
        self.limits.bodies_bytes = shares.bodies;
    }

    /// Values that are fine alone and not together.
    fn contradiction(&self) -> Option<String> {
        let (runtime, limits) = (&self.runtime, &self.limits);
        let needed = Shares {
            dirty: self.store.dirty_bytes_max,
            cache: self.store.cache_bytes,
            backlog: limits.backlog_bytes,
            bodies: limits.bodies_bytes,
            ..Shares::of(runtime.memory_bytes)
        };
        if needed.sum() > u128::from(runtime.memory_bytes) {
            return Some(format!(
                "`memory` is {} bytes, but with twice `embedded.dirty`, `embedded.cache`, \
                 `limits.backlog` and `limits.bodies` as they are set, {} are needed; raise the one or \
                 lower the others",
                runtime.memory_bytes,
                needed.sum()
            ));
        }
        if limits.retry_delay_min > limits.retry_delay_max {
            return Some(
                "`limits.retry-delay-min` is longer than `limits.retry-delay-max`".to_owned(),
            );
        }
        match (runtime.shards, runtime.partitions) {
            (Some(shards), Some(partitions)) if shards > usize::from(partitions) => Some(format!(
                "{shards} shards cannot share {partitions} partitions; a shard needs one at least"
            )),
            _ => None,
        }
    }
}

fn size(value: &str, least: u64) -> Result<u64, String> {
    let fits = parse_size(value).filter(|bytes| *bytes >= least);
    fits.ok_or_else(|| match least {
        0 | 1 => "a size such as `64MB`".to_owned(),
        _ => format!("a size of at least {}MB", least / MIB),
    })
}

fn duration(value: &str) -> Result<Duration, String> {
    parse_duration(value).ok_or_else(|| "a duration such as `500ms`, `60s`, `5min`".to_owned())
}

/// At least a second.
fn duration_or_off(value: &str) -> Result<Option<Duration>, String> {
    if value == "off" {
        return Ok(None);
    }
    parse_duration(value)
        .filter(|duration| *duration >= Duration::from_secs(1))
        .map(Some)
        .ok_or_else(|| "a duration of at least a second such as `24h`, or `off`".to_owned())
}

fn boolean(value: &str) -> Result<bool, String> {
    one_of(value, &[("true", true), ("false", false)])
}

fn one_of<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let chosen = choices.iter().find(|(name, _)| *name == value);
    chosen.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        names.join(" or ")
    })
}

fn count(value: &str) -> Result<usize, String> {
    let parsed = value.parse().ok().filter(|count| *count >= 1);
    parsed.ok_or_else(|| "a whole number of at least 1".to_owned())
}

fn auto(value: &str, least: usize, most: usize) -> Result<Option<usize>, String> {
    if value == "auto" {
        return Ok(None);
    }
    let parsed = value.parse().ok().filter(|count| (least..=most).contains(count));
    parsed.map(Some).ok_or_else(|| format!("a whole number from {least} to {most}, or `auto`"))
}

fn text(value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err("some text".to_owned());
    }
    Ok(value.to_owned())
}

fn path(value: &str) -> Result<std::path::PathBuf, String> {
    text(value).map(Into::into).map_err(|_| "a path".to_owned())
}

fn listen(value: &str) -> Result<Option<std::net::SocketAddr>, String> {
    if value == "off" {
        return Ok(None);
    }
    let expected = "an address such as `127.0.0.1:9095`, or `off`";
    let named = value.replace("localhost:", "127.0.0.1:");
    named.parse().map(Some).map_err(|_| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(pairs: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let mut given = Given::default();
        for (name, value) in pairs {
            given.put(name, value, &format!("--set {name}")).map_err(|e| vec![e])?;
        }
        let mut settings = Settings::default();
        given.apply(&mut settings).map(|()| settings)
    }

    #[test]
    fn every_default_is_what_the_table_says() {
        let written: Vec<(&str, &str)> = KEYS
            .iter()
            .filter(|key| !key.default.starts_with('('))
            .map(|key| (key.name, key.default))
            .collect();
        assert!(written.len() > 15);
        assert_eq!(apply(&written).unwrap(), Settings::default());
    }

    #[test]
    fn every_key_changes_something_and_refuses_nonsense() {
        for key in KEYS {
            let refused = apply(&[(key.name, "")]).unwrap_err();
            assert!(
                refused[0].starts_with(&format!("--set {}: expected ", key.name)),
                "{refused:?}"
            );
        }
        let others = [
            ("memory", "1GB"),
            ("data", "/x"),
            ("store", "memory"),
            ("allow-orphans", "true"),
            ("shards", "3"),
            ("partitions", "64"),
            ("idle-sleep", "1s"),
            ("stall-after", "1s"),
            ("stop-timeout", "1s"),
            ("admin", "off"),
            ("log.format", "json"),
            ("log.filter", "info"),
            ("embedded.segment", "4MB"),
            ("embedded.log", "32MB"),
            ("embedded.dirty", "2MB"),
            ("embedded.cache", "2MB"),
            ("embedded.scrub", "1h"),
            ("limits.backlog", "2MB"),
            ("limits.bodies", "2MB"),
            ("limits.mailbox-messages", "7"),
            ("limits.mailbox", "7"),
            ("limits.batch-messages", "7"),
            ("limits.batch", "7"),
            ("limits.in-flight", "7"),
            ("limits.channel-window", "7"),
            ("limits.egress-window", "7"),
            ("limits.retry-delay-min", "2s"),
            ("limits.retry-delay-max", "6min"),
            ("limits.dead-letter-messages", "7"),
            ("limits.dead-letters", "7"),
        ];
        assert_eq!(others.len(), KEYS.len());
        for pair in others {
            assert_ne!(apply(&[pair]).unwrap(), Settings::default(), "{pair:?}");
        }
    }

    #[test]
    fn memory_is_shared_out_unless_a_share_is_given() {
        let settings = apply(&[("embedded.cache", "5MB"), ("memory", "96MB")]).unwrap();
        assert_eq!(settings.store.dirty_bytes_max, 6 * MIB);
        assert_eq!(settings.store.cache_bytes, 5 * MIB);
        assert_eq!(apply(&[("memory", "512MB")]).unwrap(), Settings::default());
        let refused = apply(&[("memory", "95MB")]).unwrap_err();
        assert_eq!(refused, ["--set memory: expected a size of at least 96MB, found `95MB`"]);
    }

    #[test]
    fn values_that_contradict_each_other_are_refused() {
        let refused = |pairs| apply(pairs).unwrap_err().join("\n");
        assert!(refused(&[("embedded.cache", "1GB")]).contains("raise the one"));
        assert!(refused(&[("limits.retry-delay-min", "1h")]).contains("longer than"));
        assert!(refused(&[("shards", "3"), ("partitions", "2")]).contains("3 shards cannot share"));
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        assert_eq!(
            apply(&[("limits.batch-mesages", "1")]).unwrap_err(),
            ["unknown key `limits.batch-mesages`; did you mean `limits.batch-messages`?"]
        );
    }
}
