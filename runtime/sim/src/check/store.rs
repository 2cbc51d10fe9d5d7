//! The store, apart from what the engine makes of it: all durable commits from the beginning lead to
//! what it holds, and those of one partition come from one owner after the other.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::Image;
use crate::world::World;

pub(super) fn check(world: &World) -> Result<(), String> {
    let is_prefix = world.scenario.is_prefix == 1;
    let mut replayed = Image::default();
    let mut owners = BTreeMap::<u16, (u128, u64)>::new();
    let mut former = BTreeSet::new();
    for commit in &world.store.archive {
        replayed.apply(commit, is_prefix)?;
        for part in &commit.parts {
            let (partition, nonce) = (part.partition.0, part.fence.nonce);
            let before = owners.insert(partition, (nonce, part.seq));
            let (owner, seq) = before.unwrap_or((nonce, 0));
            if part.seq != seq + 1 {
                return Err(format!("{partition}: commit {} is durable after {seq}", part.seq));
            }
            if owner != nonce {
                former.insert((partition, owner));
            }
            if former.contains(&(partition, nonce)) {
                return Err(format!("{partition}: commits of two owners take turns: {part:?}"));
            }
        }
    }
    let mut durable = world.store.durable.clone();
    if is_prefix {
        replayed.drop_taken();
        durable.drop_taken();
    }
    if replayed.rows != durable.rows {
        let keys = replayed.rows.keys().chain(durable.rows.keys());
        let differs = keys.filter(|key| replayed.rows.get(*key) != durable.rows.get(*key)).count();
        return Err(format!("{differs} rows are not what all commits lead to"));
    }
    Ok(())
}
