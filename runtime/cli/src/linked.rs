//! The modules of this distribution: the only place that names them. A crate that is listed in
//! `Cargo.toml` and never mentioned is not linked, and registers nothing, silently; so each is
//! mentioned here, and a test compares the kinds of the shipped binary. Another distribution has
//! another such file.

use dormouse_http as _;
use dormouse_kafka as _;
use dormouse_kinesis as _;
use dormouse_playground as _;
use dormouse_statefun as _;
