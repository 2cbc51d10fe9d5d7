//! Functions with the official Java SDK: alone, and on `dormouse`.

use dormouse_interop::packages::Language;
use dormouse_interop::scenario;

#[test]
fn its_server_speaks_the_protocol() -> anyhow::Result<()> {
    scenario::server_speaks_the_protocol(Language::Java)
}

#[test]
fn its_counts_survive() -> anyhow::Result<()> {
    scenario::counts_survive(Language::Java)
}
