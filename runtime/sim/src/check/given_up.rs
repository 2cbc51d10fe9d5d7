//! Messages that were given up: each is a dead letter, or was dropped, or was replayed and had its effect;
//! never two of these at once.

use dormouse_engine::Op;
use dormouse_engine::keys::SPACE_DEAD;

use crate::check::Truth;
use crate::history::Origin;
use crate::world::World;
use crate::world::letters::letter;

pub(super) fn gather(world: &World, truth: &mut Truth) -> Result<(), String> {
    let rows = world.store.visible.rows.range(vec![SPACE_DEAD]..vec![SPACE_DEAD + 1]);
    for (key, value) in rows {
        let (id, target) = letter(key, value)?;
        if target != world.history.sent(id).target {
            return Err(format!("message {id} is a dead letter of {target}"));
        }
        if truth.applied.contains_key(&id) {
            return Err(format!("message {id} is applied, and a dead letter"));
        }
        if !truth.given_up.insert(id) {
            return Err(format!("message {id} is two dead letters"));
        }
        if !world.history.failed_alone.contains(&id) {
            return Err(format!("message {id} is a dead letter and never failed alone"));
        }
    }
    for op in world.store.archive.iter().flat_map(|commit| commit.ops.iter()) {
        if let Op::Put { key, value } = op
            && key[0] == SPACE_DEAD
        {
            truth.overtaken.insert(letter(key, value)?.0);
        }
    }
    gather_dropped(world, truth);
    Ok(())
}

/// Those without any other end, whose sender's own work became true.
fn gather_dropped(world: &World, truth: &mut Truth) {
    for (id, sent) in world.history.all_sent() {
        if !world.may_be_dropped(id) {
            continue;
        }
        let is_caused = match sent.origin {
            Origin::Ingress { .. } => true,
            Origin::Run(run) | Origin::Delayed { run, .. } => truth.survivors.contains(&run),
        };
        if is_caused && !truth.has(world, id) {
            truth.given_up.insert(id);
            truth.overtaken.insert(id);
        }
    }
}
