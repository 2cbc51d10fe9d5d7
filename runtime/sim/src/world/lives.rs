//! The lives of the process: start, crash, start again with other shards, bounds, clocks and served
//! functions; and the end of all faults.

use std::collections::{BTreeMap, VecDeque};

use dormouse_engine::{Catalog, Declared, Event, Limits, Shard, ShardConfig};
use dormouse_protocol::{FailurePolicy, FunctionType, Partition, StateSpec};

use super::letters::policy;
use super::{Fault, Life, Slot, What, World};
use crate::payload;
use crate::scenario;

/// The simulated functions, by how they come by their states: registered, learnt by asking, half of
/// each, and one that is not served in every life.
pub(super) const FUNCTIONS: [&str; 4] = ["known", "learn", "partly", "later"];

pub(super) fn function(name: &str) -> FunctionType {
    FunctionType::new("sim", name)
}

#[derive(Debug)]
struct Served {
    specs: Vec<StateSpec>,
    later_is_served: bool,
    gives_up: bool,
}

impl Catalog for Served {
    fn declare(&mut self, function_type: FunctionType) -> Declared {
        match function_type.name() {
            "learn" => Declared::Served { specs: None },
            "partly" => Declared::Served { specs: Some(self.specs[..1].to_vec()) },
            "later" if !self.later_is_served => Declared::Unserved,
            _ => Declared::Served { specs: Some(self.specs.clone()) },
        }
    }

    fn failure_policy(&mut self, function_type: FunctionType) -> FailurePolicy {
        if self.gives_up { policy(function_type) } else { FailurePolicy::default() }
    }
}

impl World {
    /// Puts the start, the submissions and the faults into the queue.
    pub(super) fn plan(&mut self) {
        self.at(0, What::Restart);
        let busy_us = self.scenario.busy_us;
        for _ in 0..self.scenario.submits {
            let at_us = self.rng.below(busy_us);
            self.at(at_us, What::Submit { again: None });
        }
        let scenario = &self.scenario;
        let faults = [
            (Fault::Crash, scenario.crashes),
            (Fault::CrashAtAction, scenario.crashes_at_action),
            (Fault::DiskFailure, scenario.disk_failures),
            (Fault::DiskStall, scenario.disk_stalls),
            (Fault::ClockStep, scenario.clock_steps),
            (Fault::Pause, scenario.pauses),
            (Fault::Takeover, scenario.takeovers),
            (Fault::Death, scenario.deaths),
            (Fault::Failover, scenario.failovers),
        ];
        for (fault, count) in faults {
            for _ in 0..count {
                let at_us = self.rng.below(busy_us * 2);
                self.at(at_us, What::Fault(fault));
            }
        }
        self.at(busy_us * 2 + 1, What::Calm);
        self.plan_letters(0);
    }

    pub(super) fn restart(&mut self) -> Result<(), String> {
        self.is_down = false;
        self.life_number += 1;
        let most = self.scenario.shards.min(self.scenario.partitions);
        let shards = self.rng.range(most.min(2), most) as usize;
        let mut limits =
            if self.is_calm { Limits::default() } else { scenario::limits(&mut self.rng) };
        self.bound_letters(&mut limits);
        let later_is_served = !self.never_serves_later && (self.is_calm || self.rng.chance(400));
        let appends_at_once = self.rng.chance(600);
        self.trace.line(format_args!(
            "{} life {} begins: {shards} shards, later served {later_is_served}, {limits:?}",
            self.time_us, self.life_number
        ));
        self.life = Life { limits, later_is_served, appends_at_once, ..Life::default() };
        self.owners = (0..self.scenario.partitions as u16)
            .map(|partition| {
                if usize::from(partition) < shards {
                    usize::from(partition)
                } else {
                    self.rng.index(shards)
                }
            })
            .collect();
        self.slots = (0..shards).map(|_| self.new_slot()).collect();
        for partition in 0..self.scenario.partitions as u16 {
            let shard = self.owners[usize::from(partition)];
            let partition = Partition(partition);
            let (fence, tenure, opened) = self.store.open(partition);
            self.slots[shard].owned.insert(partition.0, tenure);
            self.slots[shard].shard.handle(Event::Opened { partition, fence, opened });
        }
        for shard in 0..shards {
            let now_ms = self.clock_ms(shard);
            self.latest_ms = self.latest_ms.max(now_ms);
            let slot = &mut self.slots[shard];
            slot.now_ms = now_ms;
            slot.shard.advance(now_ms);
            slot.shard.handle(Event::Started);
            self.turn_in(shard, 0);
        }
        Ok(())
    }

    pub(super) fn new_slot(&mut self) -> Slot {
        let config = ShardConfig {
            partitions: self.scenario.partitions as u16,
            scoping: self.scenario.scoping(),
            is_prefix: self.scenario.is_prefix == 1,
            limits: self.life.limits.clone(),
        };
        let catalog = Served {
            specs: payload::specs(self.scenario.ttl_ms, self.scenario.entries > 0),
            later_is_served: self.life.later_is_served,
            gives_up: self.scenario.gives_up == 1,
        };
        let differ = self.scenario.clock_steps > 0 && self.commits_alone();
        let skew_ms = if differ { self.rng.below(4_000) as i64 - 2_000 } else { 0 };
        Slot {
            shard: Shard::new(config, Box::new(catalog)),
            owned: BTreeMap::new(),
            known_owners: self.owners.clone(),
            peers: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            paused_until_us: 0,
            skew_ms,
            inbox: VecDeque::new(),
            turn_at: None,
            now_ms: 0,
            running: BTreeMap::new(),
            reading: BTreeMap::new(),
            redeeming: BTreeMap::new(),
        }
    }

    /// The process dies: what the store has not made durable may be lost, and all memory is.
    pub(super) fn crash(&mut self) -> Result<(), String> {
        if self.is_down {
            return Ok(());
        }
        self.is_down = true;
        for shard in 0..self.slots.len() {
            self.excuse(shard, None);
        }
        self.slots.clear();
        self.queue.retain(|_, what| !what.dies());
        (self.actions_left, self.disk_fails, self.stalled_until_us) = (None, false, 0);
        self.store.crash(&mut self.rng)?;
        if self.scenario.clock_steps > 0 && !self.is_calm {
            self.clock_offset_ms += self.rng.below(4_000) as i64 - 2_000;
        }
        self.trace.line(format_args!("{} crash", self.time_us));
        let back_us = self.time_us + self.rng.below(50_000);
        self.at(back_us, What::Restart);
        Ok(())
    }

    /// No more faults: a last life serves what is to be served, and a few more messages come.
    pub(super) fn calm(&mut self) -> Result<(), String> {
        self.is_calm = true;
        self.calm_at_us = self.time_us;
        self.trace.line(format_args!("{} calm", self.time_us));
        let scenario = &mut self.scenario;
        (scenario.fails, scenario.hangs, scenario.asks_in_vain) = (0, 0, 0);
        (self.actions_left, self.disk_fails) = (None, false);
        self.stalled_until_us = self.stalled_until_us.min(self.time_us);
        scenario.poisoned = 0;
        scenario.confirm_us_max = scenario.confirm_us_max.min(1_000);
        if !self.life.later_is_served && !self.never_serves_later {
            self.crash()?;
        }
        for _ in 0..5 {
            let at_us = self.time_us + self.rng.below(1_000_000);
            self.at(at_us, What::Submit { again: None });
        }
        Ok(())
    }
}
