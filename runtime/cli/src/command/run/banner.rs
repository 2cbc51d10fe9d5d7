//! What `run` prints once it serves: where it listens, what it serves, where it stores.

use std::fmt;
use std::net::SocketAddr;

use dormouse_host::plan::Plan;
use dormouse_host::plan::functions::Served;
use dormouse_host::plan::open::Opened;
use dormouse_host::settings::{Settings, StoreKind};

/// A line for each thing that a person wants to know.
pub(crate) struct Banner<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) opened: &'a [Opened],
    pub(crate) settings: &'a Settings,
    pub(crate) admin: Option<SocketAddr>,
}

/// Functions that are served by another than one might expect.
fn notes(plan: &Plan) -> Vec<String> {
    let preferred = plan.functions.preferred().into_iter();
    let note = |(linked, wildcard): (&Served, &Served)| {
        let (function, target, at) = (&linked.target, &wildcard.target, &wildcard.served_at);
        format!("{function} is served in-process, not by {target} at {at}")
    };
    preferred.map(note).collect()
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "dormouse {}", env!("CARGO_PKG_VERSION"))?;
        for opened in self.opened {
            let at = opened.listens_at.as_deref().unwrap_or("");
            row(f, opened.what, &opened.id.to_string(), at)?;
        }
        for served in self.plan.functions.served() {
            row(f, "function", &served.target, &served.served_at)?;
        }
        for note in notes(self.plan) {
            row(f, "note", &note, "")?;
        }
        match self.settings.store.kind {
            StoreKind::Embedded => {
                let data = self.settings.store.data.display().to_string();
                row(f, "data", &data, "")?;
            }
            StoreKind::Memory => row(f, "data", "in memory: gone with this process", "")?,
        }
        match self.admin {
            Some(address) => row(f, "admin", &format!("http://{address}"), "")?,
            None => row(f, "admin", "off", "")?,
        }
        write!(f, "ready")
    }
}

fn row(f: &mut fmt::Formatter<'_>, what: &str, name: &str, rest: &str) -> fmt::Result {
    let line = format!("  {what:<9} {name:<32} {rest}");
    writeln!(f, "{}", line.trim_end())
}
