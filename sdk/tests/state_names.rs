//! The bound of names of states that are made at run time. On its own: it uses all of them up.
#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on fails"
)]

use dormouse_sdk::State;
use dormouse_sdk::state_name::{STATE_NAMES_MAX, StateNameError};

#[test]
fn names_have_a_bound_and_known_ones_go_on() {
    for number in 0..STATE_NAMES_MAX {
        State::<i64>::named(&format!("n{number}")).unwrap();
    }
    let refused = State::<i64>::named("one more").unwrap_err();
    assert_eq!(refused, StateNameError::TooMany("one more".to_owned()));
    assert!(refused.to_string().contains("4096 names"), "{refused}");
    State::<i64>::named("n7").unwrap();
}
