//! Feeds every parser of outside bytes with inputs that nobody wrote: mutations of a kept corpus, led by
//! coverage when the program is built with counters (`cargo xtask fuzz`), blind otherwise (the tests). A
//! finding is an input that panics, takes too long or too much memory.
//!
//! Read in this order: [`targets`] (what is fed) → [`run`] (the loop) → [`mutate`] → [`coverage`].

pub mod coverage;
pub mod memory;
pub mod mutate;
pub mod run;
pub mod targets;
