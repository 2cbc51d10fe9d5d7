//! One shard, driven by hand: what it asks for is written down line by line, its store is a map, and
//! nothing is answered before the script says so.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use bytes::Bytes;
use dormouse_engine::{
    Action, Catalog, Commit, Completed, Declared, Event, Fence, Frame, FrameBody, InvocationId,
    Limits, Op, Opened, Redeem, ScanFor, Scoping, Shard, ShardConfig, SubmitToken, keys,
};
use dormouse_protocol::{
    Address, ClearedEntries, Delayed, Effects, EgressRecord, EntryChange, EntryRead, Expiration,
    FailurePolicy, FunctionType, Invocation, InvokeError, Message, Partition, StateMutation,
    StateSpec, Then, TypeName, TypedValue, Which,
};

pub(crate) struct Rig {
    pub(crate) shard: Shard,
    pub(crate) rows: BTreeMap<Vec<u8>, Bytes>,
    /// Sealed and not appended.
    pub(crate) sealed: VecDeque<(u32, Commit)>,
    appended: u64,
    calls: VecDeque<(InvocationId, Box<Invocation>)>,
    reads: VecDeque<Action>,
    /// Scans that were answered.
    pub(crate) scans: Vec<Scanned>,
    /// Confirmed outbox entries of which the store was told, by commits.
    pub(crate) trims: u64,
    text: String,
    pub(crate) now_ms: u64,
}

/// A scan, the key from which it read, and how many rows it was given.
pub(crate) struct Scanned {
    pub(crate) purpose: ScanFor,
    pub(crate) from: Vec<u8>,
    pub(crate) rows: usize,
}

/// What a rig is made of.
pub(crate) struct Setup {
    pub(crate) partitions: u16,
    /// The partitions that the shard owns; all if empty.
    pub(crate) owned: Vec<u16>,
    pub(crate) limits: Limits,
    pub(crate) rows: BTreeMap<Vec<u8>, Bytes>,
    /// Whether there was a life before this one.
    pub(crate) is_known: bool,
    /// Each partition commits alone, in a store that may refuse it.
    pub(crate) commits_alone: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let limits = Limits { retry_delay_ms_min: 100, ..Limits::default() };
        let rows = BTreeMap::new();
        Self {
            partitions: 1,
            owned: Vec::new(),
            limits,
            rows,
            is_known: false,
            commits_alone: false,
        }
    }
}

/// Functions `t/count`, `t/brief` and `t/visited` with a state, `t/table`, `t/written` and `t/used` with
/// a table, whose entries stay or expire; `t/learn` that has to be asked; `t/dead`, `t/drop` and `t/slow`
/// with failure policies; `t/nobody` is not served.
#[derive(Debug)]
struct Functions;

impl Catalog for Functions {
    fn declare(&mut self, function_type: FunctionType) -> Declared {
        match function_type.name() {
            "count" => Declared::Served { specs: Some(vec![spec("n", Expiration::Never)]) },
            "brief" => {
                Declared::Served { specs: Some(vec![spec("n", Expiration::AfterWrite(50))]) }
            }
            "visited" => {
                Declared::Served { specs: Some(vec![spec("n", Expiration::AfterInvoke(50))]) }
            }
            "table" => Declared::Served { specs: Some(vec![entries(Expiration::Never)]) },
            "written" => {
                Declared::Served { specs: Some(vec![entries(Expiration::AfterWrite(50))]) }
            }
            "used" => Declared::Served { specs: Some(vec![entries(Expiration::AfterInvoke(50))]) },
            "learn" => Declared::Served { specs: None },
            "typed" => Declared::Served { specs: Some(vec![spec("n", Expiration::Never)]) },
            "dead" | "drop" | "slow" => Declared::Served { specs: Some(Vec::new()) },
            _ => Declared::Unserved,
        }
    }

    fn failure_policy(&mut self, function_type: FunctionType) -> FailurePolicy {
        match function_type.name() {
            "dead" => FailurePolicy { attempts: Some(2), total_ms: None, then: Then::DeadLetter },
            "typed" => FailurePolicy { attempts: Some(1), total_ms: None, then: Then::DeadLetter },
            "drop" => FailurePolicy { attempts: None, total_ms: Some(250), then: Then::Drop },
            "slow" => FailurePolicy { attempts: Some(2), total_ms: None, then: Then::Block },
            _ => FailurePolicy::default(),
        }
    }
}

pub(crate) fn spec(name: &str, expiration: Expiration) -> StateSpec {
    let (name, typename) = (name.into(), "t/int".into());
    StateSpec { name, typename, expiration, has_entries: false }
}

fn entries(expiration: Expiration) -> StateSpec {
    StateSpec { has_entries: true, ..spec("e", expiration) }
}

/// `count/a` is instance `a` of `t/count`.
pub(crate) fn address(text: &str) -> Address {
    let (name, id) = text.split_once('/').expect("name/id");
    Address::new(FunctionType::new("t", name), id)
}

pub(crate) fn message(target: &str, text: &str) -> Message {
    Message { target: address(target), caller: None, value: value(text) }
}

pub(crate) fn value(text: &str) -> TypedValue {
    TypedValue::new("t/text", Bytes::copy_from_slice(text.as_bytes()))
}

/// Effects in words: `send`, `delay`, `cancel`, `out` (egress), `set` (state 0); `put`, `remove` and
/// `clear` for its entries.
#[derive(Default)]
pub(crate) struct Answer(Effects);

pub(crate) fn answer() -> Answer {
    Answer::default()
}

impl Answer {
    pub(crate) fn send(mut self, target: &str, text: &str) -> Self {
        self.0.messages.push((address(target), value(text)));
        self
    }

    pub(crate) fn delay(
        mut self,
        delay_ms: u64,
        target: &str,
        text: &str,
        token: Option<&str>,
    ) -> Self {
        let (target, value, token) = (address(target), value(text), token.map(Into::into));
        self.0.delayed.push(Delayed::Send { delay_ms, target, value, token });
        self
    }

    pub(crate) fn cancel(mut self, token: &str) -> Self {
        self.0.delayed.push(Delayed::Cancel { token: token.into() });
        self
    }

    pub(crate) fn out(mut self, text: &str) -> Self {
        let egress = TypeName { namespace: "t".to_owned(), name: "out".to_owned() };
        self.0.egress.push(EgressRecord { egress, value: value(text) });
        self
    }

    pub(crate) fn set(mut self, text: &str) -> Self {
        let value = Some(Bytes::copy_from_slice(text.as_bytes()));
        self.0.state.push(StateMutation { spec: 0, value });
        self
    }
}

impl Answer {
    pub(crate) fn put(self, key: &str, text: &str) -> Self {
        self.change(key, Some(Bytes::copy_from_slice(text.as_bytes())))
    }

    pub(crate) fn remove(self, key: &str) -> Self {
        self.change(key, None)
    }

    pub(crate) fn clear(mut self, prefix: &str) -> Self {
        let prefix = Bytes::copy_from_slice(prefix.as_bytes());
        let entries = self.0.entries.get_or_insert_default();
        entries.cleared.push(ClearedEntries { spec: 0, prefix });
        self
    }

    fn change(mut self, key: &str, value: Option<Bytes>) -> Self {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let entries = self.0.entries.get_or_insert_default();
        entries.changes.push(EntryChange { spec: 0, key, value });
        self
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Setup::default())
    }

    pub(crate) fn with(setup: Setup) -> Self {
        let config = ShardConfig {
            partitions: setup.partitions,
            scoping: if setup.commits_alone { Scoping::Partition } else { Scoping::Shard },
            is_prefix: !setup.commits_alone,
            limits: setup.limits,
        };
        let mut shard = Shard::new(config, Box::new(Functions));
        shard.advance(1_000);
        for index in 0..setup.partitions {
            if !setup.owned.is_empty() && !setup.owned.contains(&index) {
                continue;
            }
            let partition = Partition(index);
            let prefix = keys::space_prefix(keys::SPACE_META, partition);
            let rows = setup.rows.iter().filter(|(key, _)| key.starts_with(&prefix));
            let rows = rows.map(|(key, value)| (key.clone().into(), value.clone())).collect();
            let meta = setup.is_known.then_some(dormouse_engine::PartMeta {
                partition,
                fence: Fence::default(),
                seq: 100,
                time_ms: 1_000,
                arrival: 100,
            });
            let opened = Opened { meta, rows };
            shard.handle(Event::Opened { partition, fence: Fence::default(), opened });
        }
        shard.handle(Event::Started);
        let mut rig = Self {
            shard,
            rows: setup.rows,
            sealed: VecDeque::new(),
            appended: 0,
            calls: VecDeque::new(),
            reads: VecDeque::new(),
            scans: Vec::new(),
            trims: 0,
            text: String::new(),
            now_ms: 1_000,
        };
        rig.take();
        rig
    }

    /// What happened since the last call.
    pub(crate) fn text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    pub(crate) fn say(&mut self, text: &str) {
        let _ = writeln!(self.text, "{text}");
    }

    pub(crate) fn submit(&mut self, target: &str, text: &str) {
        self.handle(Event::Submit { message: message(target, text), token: None });
    }

    pub(crate) fn submit_token(&mut self, target: &str, text: &str, token: u64) {
        let token = Some(SubmitToken(token));
        self.handle(Event::Submit { message: message(target, text), token });
    }

    pub(crate) fn handle(&mut self, event: Event) {
        self.shard.handle(event);
        self.take();
    }

    pub(crate) fn advance(&mut self, by_ms: u64) {
        self.now_ms += by_ms;
        self.shard.advance(self.now_ms);
        self.take();
    }

    /// The call that waits longest for an answer gets this one.
    pub(crate) fn done(&mut self, answer: Answer) {
        let outboxes = answer.0.egress.iter().map(|_| "out".into()).collect();
        self.end(Ok(Completed::Effects { effects: answer.0.into(), outboxes }));
    }

    /// The call that waits longest asks for an entry.
    pub(crate) fn asks_entry(&mut self, key: &str) {
        let which = Which::One(Bytes::copy_from_slice(key.as_bytes()));
        self.asks_for(which);
    }

    /// It asks for entries in a range.
    pub(crate) fn asks_page(&mut self, from: &str, to: &str, rows_max: usize) {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        self.asks_for(Which::Page { from: bytes(from), to: bytes(to), rows_max });
    }

    fn asks_for(&mut self, which: Which) {
        let (id, _) = self.calls.front().expect("a call waits");
        let id = *id;
        self.handle(Event::Read { id, read: EntryRead { spec: 0, which } });
    }

    /// A step of deleting what was given up.
    pub(crate) fn clean(&mut self) {
        self.shard.clean();
        self.take();
    }

    /// Answers by a message to this address alone.
    pub(crate) fn reply(&mut self, to: Address, text: &str) {
        let mut answer = answer();
        answer.0.messages.push((to, value(text)));
        self.done(answer);
    }

    pub(crate) fn asks(&mut self, specs: Vec<StateSpec>) {
        self.end(Ok(Completed::Incomplete(specs)));
    }

    pub(crate) fn fails(&mut self) {
        self.end(Err(InvokeError::new("no")));
    }

    pub(crate) fn fails_for(&mut self, pause: std::time::Duration) {
        let error = InvokeError { retry_after: Some(pause), ..InvokeError::new("busy") };
        self.end(Err(error));
    }

    /// All dead letters go back to their addresses, or are gone.
    pub(crate) fn redeem(&mut self, redeem: Redeem, token: u64) {
        let prefix = keys::space_prefix(keys::SPACE_DEAD, Partition(0));
        let rows = self.rows.iter().filter(|(key, _)| key.starts_with(&prefix));
        let rows = rows.map(|(key, value)| (key.clone().into(), value.clone())).collect();
        let token = SubmitToken(token);
        self.handle(Event::Redeem { partition: Partition(0), rows, redeem, token });
    }

    /// Who sent the first message of the call that waits longest.
    pub(crate) fn caller(&self) -> String {
        let (_, invocation) = self.calls.front().expect("a call waits");
        short(invocation.messages[0].caller.as_ref().expect("it has a caller"))
    }

    /// Every call gets an empty answer.
    pub(crate) fn done_all(&mut self) {
        while !self.calls.is_empty() {
            self.done(answer());
        }
    }

    fn end(&mut self, result: Result<Completed, InvokeError>) {
        let (id, _) = self.calls.pop_front().expect("a call waits");
        self.handle(Event::Done { id, result });
    }

    pub(crate) fn seal(&mut self) {
        self.shard.seal();
        self.take();
    }

    /// Seals; the store takes everything sealed.
    pub(crate) fn append(&mut self) {
        self.seal();
        self.append_sealed();
    }

    fn append_sealed(&mut self) {
        while !self.sealed.is_empty() {
            self.append_one();
        }
    }

    /// The store takes the first commit that it was given and has not taken.
    pub(crate) fn append_one(&mut self) {
        let (scope, commit) = self.sealed.pop_front().expect("a sealed commit");
        for op in commit.ops.iter() {
            match op {
                Op::Put { key, value } => {
                    self.rows.insert(key.to_vec(), Bytes::copy_from_slice(value));
                }
                Op::Delete { key } => {
                    self.rows.remove(key);
                }
            }
        }
        self.trims += commit.trims.len() as u64;
        self.appended = commit.number;
        self.shard.reuse(scope, commit.ops);
        self.handle(Event::Appended { scope, number: commit.number });
    }

    /// Everything appended survives a crash.
    pub(crate) fn sync(&mut self) {
        self.append();
        self.handle(Event::Durable { scope: 0, number: self.appended });
    }

    /// Answers all reads, also those that the answers lead to.
    pub(crate) fn read(&mut self) {
        while let Some(read) = self.reads.pop_front() {
            let event = match read {
                Action::Get { purpose, keys } => {
                    let values = keys.iter().map(|key| self.rows.get(key).cloned()).collect();
                    Event::Got { purpose, values }
                }
                Action::Scan { purpose, range } => {
                    let all = self.rows.range(range.from.clone()..range.to);
                    let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
                    for (key, value) in all {
                        more = rows.len() == range.rows_max || bytes >= range.bytes_max;
                        if more {
                            break;
                        }
                        bytes += key.len() + value.len();
                        rows.push((key.clone().into(), value.clone()));
                    }
                    let scanned =
                        Scanned { purpose: purpose.clone(), from: range.from, rows: rows.len() };
                    self.scans.push(scanned);
                    Event::Scanned { purpose, rows, more }
                }
                other => panic!("not a read: {other:?}"),
            };
            self.handle(event);
        }
    }

    fn take(&mut self) {
        let mut actions = Vec::new();
        self.shard.take_actions(&mut actions);
        for action in actions {
            let line = describe(&action);
            self.say(&line);
            match action {
                Action::Append { scope, commit } => self.sealed.push_back((scope, commit)),
                Action::Invoke { id, invocation } => self.calls.push_back((id, invocation)),
                Action::Get { .. } | Action::Scan { .. } => self.reads.push_back(action),
                _ => {}
            }
        }
    }
}

fn text(value: &TypedValue) -> String {
    String::from_utf8_lossy(&value.value).into_owned()
}

fn texts<'a>(messages: impl Iterator<Item = &'a Message>) -> String {
    messages.map(|message| text(&message.value)).collect::<Vec<_>>().join(" ")
}

fn describe(action: &Action) -> String {
    match action {
        Action::Get { purpose, keys } => format!("get {} of {purpose:?}", keys.len()),
        Action::Scan { purpose, .. } => format!("scan {purpose:?}"),
        Action::Invoke { invocation, .. } => {
            let state: Vec<_> = invocation
                .state
                .iter()
                .map(|value| value.as_ref().map(|bytes| String::from_utf8_lossy(bytes)))
                .collect();
            let messages = texts(invocation.messages.iter().map(AsRef::as_ref));
            format!("call {} with [{messages}] state {state:?}", short(&invocation.target))
        }
        Action::Rows { page, .. } => {
            let rows = page.rows.iter().map(|(key, value)| {
                format!("{}={}", key.escape_ascii(), String::from_utf8_lossy(value))
            });
            let rows: Vec<_> = rows.collect();
            let next = page.next.as_ref().map(|next| next.escape_ascii().to_string());
            format!("rows [{}] next {next:?}", rows.join(" "))
        }
        Action::Append { commit, .. } => {
            let ops: Vec<_> = commit.ops.iter().map(describe_op).collect();
            format!("commit {}: {}", commit.number, ops.join(" "))
        }
        Action::Frame(frame) => describe_frame(frame),
        Action::Accepted(token) => format!("accepted {}", token.0),
        Action::Reply { id, value } => format!("reply to {id}: {}", text(value)),
        Action::Egress(out) => format!("egress {} {}", out.number, text(&out.value)),
        Action::Blocked { address, error, failures, retry_in_ms } => {
            format!("blocked {} ({failures}) for {retry_in_ms} ms: {error}", short(address))
        }
        Action::GivenUp { address, error, attempts, fate, .. } => {
            format!("given up of {} after {attempts}: {fate:?}: {error}", short(address))
        }
        Action::Redeemed(token) => format!("redeemed {}", token.0),
        Action::Halt(error) => format!("halt: {error}"),
    }
}

fn short(address: &Address) -> String {
    format!("{}/{}", address.function_type.name(), address.id)
}

fn describe_op(op: Op<'_>) -> String {
    let (sign, key) = match op {
        Op::Put { key, .. } => ('+', key),
        Op::Delete { key } => ('-', key),
    };
    let (_, key) = keys::parse(key).expect("a key");
    let key = match key {
        keys::Key::Mark { sender } => format!("mark({sender})"),
        keys::Key::OutboxHead { receiver } => format!("head({receiver})"),
        keys::Key::EgressHead { outbox } => format!("head({outbox})"),
        keys::Key::State { id, name, .. } => format!("state({id}.{name})"),
        keys::Key::Entry { id, name, entry, .. } => {
            format!("entry({id}.{name} {})", entry.escape_ascii())
        }
        keys::Key::Cleared { id, name, prefix, .. } => {
            format!("cleared({id}.{name} {})", prefix.escape_ascii())
        }
        keys::Key::Pending { id, arrival, .. } => format!("pending({id} {arrival})"),
        keys::Key::Due { due_ms, arrival } => format!("due({due_ms} {arrival})"),
        keys::Key::Token { id, token } => format!("token({id} {token})"),
        keys::Key::Outbox { receiver, number } => format!("outbox({receiver} {number})"),
        keys::Key::Egress { outbox, number } => format!("egress({outbox} {number})"),
        keys::Key::Fired => "fired".to_owned(),
        keys::Key::DeadTally => "tally".to_owned(),
        keys::Key::Dead { arrival } => format!("dead({arrival})"),
        keys::Key::Source { .. } => "source".to_owned(),
    };
    format!("{sign}{key}")
}

fn describe_frame(frame: &Frame) -> String {
    let Frame { from, to, body } = frame;
    match body {
        FrameBody::Batch { after, opens, messages, .. } => {
            let opens = if *opens { " opens" } else { "" };
            let messages = texts(messages.iter().map(AsRef::as_ref));
            format!("frame {from}>{to}{opens} after {after} [{messages}]")
        }
        other => format!("frame {from}>{to} {other:?}"),
    }
}
