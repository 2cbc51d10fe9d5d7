//! The real binary, run as people run it: what it prints, and with which code it ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod application;
mod arguments;
mod check;
mod dead_letters;
mod documents;
mod new;
mod run;
mod sandbox;
mod signals;
mod statefun;
