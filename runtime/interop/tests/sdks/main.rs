//! Functions written with the four official SDKs, on the binary `dormouse`: the same tests for each
//! language, and applications of the StateFun playground.
//!
//! Every test starts a function server and `dormouse` of its own, and drives them through the
//! playground's ingress and egress.

mod actor;
mod cart;
mod components;
mod functions;
mod greeter;
mod kills;
mod stage;
mod together;
mod types;

use dormouse_interop::packages::Language;

/// These tests for each language.
macro_rules! in_every_language {
    ($($module:ident::$test:ident,)*) => {
        in_every_language! { python: Python, $($module::$test,)* }
        in_every_language! { javascript: JavaScript, $($module::$test,)* }
        in_every_language! { go: Go, $($module::$test,)* }
        in_every_language! { java: Java, $($module::$test,)* }
    };
    ($name:ident: $language:ident, $($module:ident::$test:ident,)*) => {
        mod $name {
            $(
                #[test]
                fn $test() -> anyhow::Result<()> {
                    crate::$module::$test(crate::Language::$language)
                }
            )*
        }
    };
}

in_every_language! {
    greeter::server_speaks_the_protocol,
    greeter::counts_survive,
    actor::state_is_kept_and_cleared,
    actor::messages_know_their_callers,
    actor::delayed_messages_come_or_are_cancelled,
    actor::state_expires_after_writes_and_after_calls,
    actor::a_function_that_fails_is_given_up_and_has_done_nothing,
    actor::a_negative_delay_is_a_failure_of_the_function,
    actor::many_messages_for_one_address_are_taken_in_batches,
    types::values_of_every_type_are_kept_byte_for_byte,
    kills::counts_are_exact_over_kills_of_both_processes,
}

/// Only these have a file of ours around them.
#[test]
fn python_takes_several_calls_in_one_request() -> anyhow::Result<()> {
    together::several_calls_in_one_request(Language::Python)
}

#[test]
fn javascript_takes_several_calls_in_one_request() -> anyhow::Result<()> {
    together::several_calls_in_one_request(Language::JavaScript)
}
