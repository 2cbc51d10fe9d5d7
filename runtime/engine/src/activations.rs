//! All awake instances of a shard, found by address, named by slot. They lie in chunks, so that finding
//! one costs no pointer of its own; a chunk's memory goes back when all of its instances sleep.

use dormouse_protocol::{Address, Partition};
use hashbrown::HashTable;

use crate::activation::Activation;
use crate::event::InvocationId;

/// Instances of a chunk: as many as its word has bits.
const CHUNK_LEN: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Activations {
    chunks: Vec<Chunk>,
    /// Chunks with a free slot, each once.
    open: Vec<u32>,
    index: HashTable<Indexed>,
    generation: u32,
    /// Where the sweep goes on.
    hand: usize,
    /// Bytes accounted for all of them.
    pub(crate) memory: usize,
}

/// An entry of the index: it is hashed again without a look at the activation.
#[derive(Clone, Copy, Debug)]
struct Indexed {
    hash: u32,
    slot: u32,
}

#[derive(Debug)]
struct Chunk {
    /// A bit per slot in use.
    used: u64,
    /// [`CHUNK_LEN`] of them, or none while no slot is in use.
    slots: Box<[Option<Activation>]>,
}

/// What an address is found by: its placement hash (low bits are the same within a shard, so the high
/// ones count) mixed with the type.
#[inline]
fn index_hash(placement_hash: u64, function_index: usize) -> u32 {
    let mixed = placement_hash ^ (function_index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

/// Spread over the bits that the table looks at.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Activations {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, address: &Address) -> Option<u32> {
        let hash = index_hash(hash, address.function_type.index());
        let same = |found: &Indexed| found.hash == hash && self.at(found.slot).address == *address;
        self.index.find(spread(hash), same).map(|found| found.slot)
    }

    /// Who [`Activations::find`] would most likely find, without a look at the activation.
    #[inline]
    pub(crate) fn guess(&self, hash: u64, address: &Address) -> Option<u32> {
        let hash = index_hash(hash, address.function_type.index());
        self.index.find(spread(hash), |found| found.hash == hash).map(|found| found.slot)
    }

    /// Looks at what a message or commit needs of an activation, and at nothing that depends on what it
    /// finds there: done for some in a row, the processor waits for the memory of all of them at once.
    #[inline]
    pub(crate) fn fetch(&self, slot: u32) {
        let at = self.at(slot);
        // Each lies on another cache line.
        std::hint::black_box((at.hash, at.mailbox.bytes(), at.cells.len(), at.weight));
    }

    /// The same as [`Activations::find`], for one that was guessed.
    #[inline]
    pub(crate) fn find_guessed(
        &self,
        guess: Option<u32>,
        hash: u64,
        address: &Address,
    ) -> Option<u32> {
        let guess = guess?;
        if self.at(guess).address == *address { Some(guess) } else { self.find(hash, address) }
    }

    #[inline]
    fn at(&self, slot: u32) -> &Activation {
        let (chunk, place) = split(slot);
        self.chunks[chunk].slots[place].as_ref().expect("an indexed slot is in use")
    }

    #[inline]
    pub(crate) fn get(&mut self, slot: u32) -> &mut Activation {
        let (chunk, place) = split(slot);
        self.chunks[chunk].slots[place].as_mut().expect("a slot in hand is in use")
    }

    /// The activation that `id` names, unless it has moved on.
    #[inline]
    pub(crate) fn current(&mut self, id: InvocationId) -> Option<&mut Activation> {
        let (chunk, place) = split(id.slot);
        let activation = self.chunks.get_mut(chunk)?.slots.get_mut(place)?.as_mut()?;
        (activation.generation == id.generation).then_some(activation)
    }

    /// The generation that a slot is at, whichever was asked for.
    pub(crate) fn latest(&self, id: InvocationId) -> InvocationId {
        let (chunk, place) = split(id.slot);
        let slots = self.chunks.get(chunk).map(|chunk| &chunk.slots);
        let activation = slots.and_then(|slots| slots.get(place)?.as_ref());
        let generation = activation.map_or(id.generation, |activation| activation.generation);
        InvocationId { generation, ..id }
    }

    /// A generation that no earlier question or invocation of the slot had.
    #[inline]
    pub(crate) fn next_id(&mut self, slot: u32) -> InvocationId {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        self.get(slot).generation = generation;
        InvocationId { slot, generation }
    }

    pub(crate) fn insert(&mut self, activation: Activation) -> u32 {
        self.memory += activation.weight;
        let hash = index_hash(activation.hash, activation.address.function_type.index());
        let slot = self.take_slot();
        let (chunk, place) = split(slot);
        self.chunks[chunk].slots[place] = Some(activation);
        self.index.insert_unique(spread(hash), Indexed { hash, slot }, |other| spread(other.hash));
        slot
    }

    fn take_slot(&mut self) -> u32 {
        let number = self.open.last().copied().unwrap_or_else(|| {
            let number = u32::try_from(self.chunks.len()).expect("fewer than 2^32 chunks");
            self.chunks.push(Chunk { used: 0, slots: Box::default() });
            self.open.push(number);
            number
        });
        let chunk = &mut self.chunks[number as usize];
        if chunk.slots.is_empty() {
            chunk.slots = (0..CHUNK_LEN).map(|_| None).collect();
        }
        let place = chunk.used.trailing_ones();
        chunk.used |= 1 << place;
        if chunk.used == u64::MAX {
            self.open.pop();
        }
        number
            .checked_mul(CHUNK_LEN as u32)
            .map(|first| first + place)
            .expect("fewer than 2^32 awake instances")
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        let (number, place) = split(slot);
        let chunk = &mut self.chunks[number];
        let activation = chunk.slots[place].take().expect("a slot in hand is in use");
        if chunk.used == u64::MAX {
            self.open.push(number as u32);
        }
        chunk.used &= !(1 << place);
        if chunk.used == 0 {
            chunk.slots = Box::default();
        }
        self.memory -= activation.weight;
        let hash = index_hash(activation.hash, activation.address.function_type.index());
        let found = self.index.find_entry(spread(hash), |other| other.slot == slot);
        found.expect("a slot in use is indexed").remove();
        if self.index.is_empty() {
            self.chunks = Vec::new();
            self.open = Vec::new();
            self.index = HashTable::new();
        }
    }

    /// Adds what changed in an activation's size to the account.
    #[inline]
    pub(crate) fn reweigh(&mut self, slot: u32, added: usize, removed: usize) {
        self.memory = self.memory + added - removed;
        let activation = self.get(slot);
        activation.weight = activation.weight + added - removed;
    }

    /// The next slot that the sweep looks at, in use or not; `None` when there are no slots.
    pub(crate) fn sweep_next(&mut self) -> Option<(u32, Option<&mut Activation>)> {
        if self.chunks.is_empty() {
            return None;
        }
        self.hand = (self.hand + 1) % self.slots_len();
        let (chunk, place) = split(self.hand as u32);
        let activation = self.chunks[chunk].slots.get_mut(place).and_then(Option::as_mut);
        Some((self.hand as u32, activation))
    }

    /// Those of a partition, in the order of their slots.
    pub(crate) fn slots_of(&self, partition: Partition) -> Vec<u32> {
        let mut slots = Vec::new();
        for (chunk, first) in self.chunks.iter().zip((0..).step_by(CHUNK_LEN)) {
            let of_partition = |(slot, _): &(&Option<Activation>, u32)| {
                slot.as_ref().is_some_and(|activation| activation.partition == partition)
            };
            let numbered = chunk.slots.iter().zip(first..);
            slots.extend(numbered.filter(of_partition).map(|(_, slot)| slot));
        }
        slots
    }

    pub(crate) fn slots_len(&self) -> usize {
        self.chunks.len() * CHUNK_LEN
    }
}

/// Chunk of a slot, and its place there.
#[inline]
fn split(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK_LEN, slot as usize % CHUNK_LEN)
}

#[cfg(test)]
mod tests {
    use dormouse_protocol::FunctionType;

    use super::*;

    fn address(n: u64) -> Address {
        Address::new(FunctionType::new("test", "activations"), format!("a{n}"))
    }

    fn insert(activations: &mut Activations, n: u64) -> u32 {
        activations.insert(Activation::new(address(n), Partition(0), n << 20))
    }

    #[test]
    fn each_instance_is_found_until_it_sleeps() {
        let mut activations = Activations::default();
        let slots: Vec<u32> = (0..1_000).map(|n| insert(&mut activations, n)).collect();
        for n in (0..1_000).step_by(3) {
            activations.remove(slots[n as usize]);
        }
        for n in 0..1_000 {
            let expected = (n % 3 != 0).then_some(slots[n as usize]);
            assert_eq!(activations.find(n << 20, &address(n)), expected);
        }
        assert_eq!(activations.len(), 666);
        for n in 0..1_000 {
            // Their hashes differ in nothing that counts: nearly every guess is wrong.
            let guess = activations.guess(n << 20, &address(n));
            let expected = (n % 3 != 0).then_some(slots[n as usize]);
            assert_eq!(activations.find_guessed(guess, n << 20, &address(n)), expected);
        }
    }

    #[test]
    fn free_slots_are_used_again_before_there_are_more() {
        let mut activations = Activations::default();
        let slots: Vec<u32> = (0..200).map(|n| insert(&mut activations, n)).collect();
        let len = activations.slots_len();
        for slot in &slots[10..150] {
            activations.remove(*slot);
        }
        (1_000..1_140).for_each(|n| assert!(insert(&mut activations, n) < len as u32));
        assert_eq!((activations.slots_len(), activations.len()), (len, 200));
        let all = (0..10).chain(150..200).chain(1_000..1_140);
        assert!(all.into_iter().all(|n| activations.find(n << 20, &address(n)).is_some()));
    }

    #[test]
    fn memory_goes_back_chunk_by_chunk() {
        let mut activations = Activations::default();
        let slots: Vec<u32> =
            (0..3 * CHUNK_LEN as u64).map(|n| insert(&mut activations, n)).collect();
        let held = |activations: &Activations| {
            activations.chunks.iter().filter(|chunk| !chunk.slots.is_empty()).count()
        };
        assert_eq!(held(&activations), 3);
        slots[CHUNK_LEN..2 * CHUNK_LEN].iter().for_each(|slot| activations.remove(*slot));
        assert_eq!(held(&activations), 2);
        slots[..CHUNK_LEN].iter().for_each(|slot| activations.remove(*slot));
        slots[2 * CHUNK_LEN..].iter().for_each(|slot| activations.remove(*slot));
        assert_eq!((held(&activations), activations.memory), (0, 0));
    }
}
