//! The stable placement of addresses. Changing anything here is a migration for every user.

use std::fmt;

use crate::Address;

/// Partitions an application may have at most.
pub const PARTITIONS_MAX: u16 = 1_024;

/// Namespace of Dormouse's own types: refused as a target at every ingress.
pub const RESERVED_NAMESPACE_PREFIX: &str = "dormouse.";

/// The built-in durable request instance and the volatile reply address (`dormouse.http/...`).
pub const HTTP_NAMESPACE: &str = "dormouse.http";
/// Name of the durable request instance.
pub const REQUEST_NAME: &str = "request";
/// Name of the volatile reply address.
pub const REPLY_NAME: &str = "reply";

/// A partition's number, below the application's number of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The partition of `address`: XXH3-64 (seed 0) of the id's UTF-8 bytes, modulo `partitions`. Only the
/// id counts, so all types of one id live together. The id of a durable request
/// (`<len>:<target id>:<namespace>/<name>:<key>`) is placed by its target's id.
#[must_use]
pub fn partition_of(address: &Address, partitions: u16) -> Partition {
    partition_of_hash(placement_hash(address), partitions)
}

/// The hash that places `address`; its partition is this modulo the number of partitions.
#[must_use]
#[inline]
pub fn placement_hash(address: &Address) -> u64 {
    let id = address.id.as_str();
    let function_type = address.function_type;
    let is_request =
        function_type.name() == REQUEST_NAME && function_type.namespace() == HTTP_NAMESPACE;
    let placed_by = if is_request { request_target_id(id).unwrap_or(id) } else { id };
    xxhash_rust::xxh3::xxh3_64(placed_by.as_bytes())
}

/// The partition of a [`placement_hash`].
#[must_use]
#[inline]
pub fn partition_of_hash(hash: u64, partitions: u16) -> Partition {
    Partition((hash % u64::from(partitions)) as u16)
}

/// The target id inside a durable request's id.
fn request_target_id(id: &str) -> Option<&str> {
    let (length, rest) = id.split_once(':')?;
    rest.get(..length.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FunctionType;

    fn place(function: &str, id: &str) -> u16 {
        partition_of(&Address::new(FunctionType::parse(function).unwrap(), id), 128).0
    }

    #[test]
    fn placement_never_changes() {
        let ids = ["", "Bob", "0", "user-42", "ключ", "a/b", &"x".repeat(1000)];
        let placed: Vec<u16> = ids.iter().map(|id| place("example/person", id)).collect();
        assert_eq!(placed, GOLDEN);
    }

    const GOLDEN: [u16; 7] = [66, 17, 85, 77, 94, 4, 2];

    #[test]
    fn the_function_type_does_not_count() {
        assert_eq!(place("a/b", "Bob"), place("c/d", "Bob"));
    }

    #[test]
    fn a_durable_request_lives_with_its_target() {
        assert_eq!(
            place("dormouse.http/request", "3:Bob:example/person:key:1"),
            place("a/b", "Bob")
        );
        assert_eq!(
            place("dormouse.http/request", "5:a:b:c:example/person:k"),
            place("a/b", "a:b:c")
        );
    }
}
