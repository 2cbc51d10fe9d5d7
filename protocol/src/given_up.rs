//! What a client that waits for a reply is told when its message was given up: one line of text, under a
//! type of Dormouse's own. Written by the engine with the commit that gives the message up; ingresses
//! answer with it, and a durable request keeps it as its outcome.

use std::fmt::Write as _;

use crate::partition::{HTTP_NAMESPACE, REPLY_NAME, REQUEST_NAME};
use crate::{Address, Partition, TypedValue};

/// Typename of a notice.
pub const TYPENAME: &str = "dormouse.http/GivenUp";

/// Longest part of a cause that is told, in bytes.
const CAUSE_BYTES_MAX: usize = 1 << 10;

/// Whether somebody behind this address waits for a reply: a request under way, or a durable one.
#[must_use]
pub fn is_waiting(caller: &Address) -> bool {
    let function_type = caller.function_type;
    function_type.namespace() == HTTP_NAMESPACE
        && [REPLY_NAME, REQUEST_NAME].contains(&function_type.name())
}

/// The notice for a message to `address`: its last of `attempts` calls failed for `cause`. It is a dead
/// letter of this partition and number, or was dropped.
#[must_use]
pub fn notice(
    address: &Address,
    attempts: u32,
    cause: &str,
    letter: Option<(Partition, u64)>,
) -> TypedValue {
    let times = if attempts == 1 { "once" } else { "times" };
    let count = if attempts == 1 { String::new() } else { format!("{attempts} ") };
    let mut text = format!("{address} failed {count}{times}, and the message is ");
    let _ = match letter {
        Some((partition, number)) => write!(text, "a dead letter ({partition}-{number}): "),
        None => write!(text, "dropped: "),
    };
    let cause = &cause[..cause.floor_char_boundary(CAUSE_BYTES_MAX)];
    // One line, whatever the function has written.
    text.extend(cause.chars().map(|c| if c.is_control() { ' ' } else { c }));
    TypedValue::new(TYPENAME, text)
}

/// The text of a notice; `None` for any other value.
#[must_use]
pub fn read(value: &TypedValue) -> Option<&str> {
    let is_notice = value.typename == TYPENAME;
    is_notice.then(|| std::str::from_utf8(&value.value).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FunctionType;

    fn address(namespace: &str, name: &str) -> Address {
        Address::new(FunctionType::new(namespace, name), "a")
    }

    #[test]
    fn a_notice_is_one_line_with_all_that_is_known() {
        let basket = address("shop", "basket");
        let letter = notice(&basket, 2, "it is\nbad", Some((Partition(5), 17)));
        assert_eq!(
            read(&letter),
            Some(
                "shop/basket/a failed 2 times, and the message is a dead letter (5-17): it is bad"
            )
        );
        let dropped = notice(&basket, 1, &"ж".repeat(CAUSE_BYTES_MAX), None);
        let text = read(&dropped).unwrap();
        assert!(text.starts_with("shop/basket/a failed once, and the message is dropped: ж"));
        assert!(text.len() < 2 * CAUSE_BYTES_MAX);
        assert_eq!(read(&TypedValue::new("a/b", "text")), None);
    }

    #[test]
    fn those_who_wait_are_told_apart() {
        assert!(is_waiting(&address("dormouse.http", "reply")));
        assert!(is_waiting(&address("dormouse.http", "request")));
        assert!(!is_waiting(&address("dormouse.http", "other")));
        assert!(!is_waiting(&address("shop", "reply")));
    }
}
