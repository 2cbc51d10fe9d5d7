//! Dead letters from outside: listed, replayed and discarded page by page, over the partitions in their
//! order. Used by the admin listener; each page asks the shards that own the partitions.

use std::fmt::Write as _;
use std::sync::Arc;

use dormouse_engine::{DeadLetter, Redeem};
use dormouse_protocol::partition::HTTP_NAMESPACE;
use dormouse_protocol::{Address, FunctionType, Partition, TypedValue, partition_of, types};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, oneshot};

use crate::driver::dead::{Answer, Question};
use crate::driver::inbox::Incoming;
use crate::driver::process::Process;

/// Letters on one page, at most; and when a request does not say.
pub const PAGE_LETTERS_MAX: usize = 1_000;
const PAGE_LETTERS_DEFAULT: usize = 100;

/// Reads of one page, at most: a page may be short, or empty, and have a next one.
const PAGE_READS_MAX: usize = 64;

/// Letters that one request may name.
const NAMED_MAX: usize = 1_000;

/// Which letters, in words of the admin listener. Everything given has to fit.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// `<namespace>/<name>` of the target.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub function_type: Option<String>,
    /// Id of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A part of the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// These letters, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub letters: Option<Vec<String>>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Letters on the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// With the values of the messages.
    pub values: bool,
}

/// Letters in the order of their partitions and numbers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Page {
    pub letters: Vec<Letter>,
    /// `after` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A dead letter as it is shown.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Letter {
    /// Its name: `<partition>-<number>`.
    pub letter: String,
    #[serde(rename = "type")]
    pub function_type: String,
    pub id: String,
    /// The address that sent the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// `ingress`, `request` (which waited for the reply) or `function`.
    pub origin: String,
    pub cause: String,
    /// Calls that failed.
    pub attempts: u32,
    /// When the first and the last call were made, in milliseconds since 1970.
    pub first_call_ms: u64,
    pub died_ms: u64,
    /// The type of the message, and how long its value is.
    pub value_type: String,
    pub value_bytes: usize,
    /// The value, if asked for: as text when it is a text, a number or a boolean, else in hexadecimal
    /// digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

/// What a letter has to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    function_type: Option<String>,
    id: Option<String>,
    cause: Option<String>,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeadLettersError {
    /// The request is wrong.
    #[error("{0}")]
    Request(String),
    /// The process is stopping.
    #[error("the runtime has stopped; ask again when it runs")]
    Stopped,
}

/// The dead letters of a running application.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    process: Arc<Process>,
    /// One page is made at a time.
    turn: Arc<Mutex<()>>,
}

/// Where a page begins: a partition, the letter before, and the last one (0: those that there are).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    partition: u16,
    after: u64,
    upto: Option<u64>,
}

impl Filter {
    pub(crate) fn fits(&self, letter: &DeadLetter) -> bool {
        let target = &letter.message.target;
        let is_type = |name: &String| target.function_type.as_str() == name;
        let is_id = |id: &String| target.id == *id;
        let is_cause = |cause: &String| letter.cause.contains(cause.as_str());
        self.function_type.as_ref().is_none_or(is_type)
            && self.id.as_ref().is_none_or(is_id)
            && self.cause.as_ref().is_none_or(is_cause)
    }
}

impl DeadLetters {
    pub(crate) fn new(process: Arc<Process>) -> Self {
        Self { process, turn: Arc::default() }
    }

    /// One page of letters that fit; with `redeem` they are replayed or discarded, durably when this
    /// answers.
    pub async fn page(
        &self,
        request: &Request,
        redeem: Option<Redeem>,
    ) -> Result<Page, DeadLettersError> {
        let letters_max = request.limit.unwrap_or(PAGE_LETTERS_DEFAULT);
        if !(1..=PAGE_LETTERS_MAX).contains(&letters_max) {
            let expected =
                format!("`limit`: expected 1 to {PAGE_LETTERS_MAX}, found {letters_max}");
            return Err(DeadLettersError::Request(expected));
        }
        let after = request.after.as_deref().map(Cursor::parse).transpose()?;
        let filter = Filter {
            function_type: request.function_type.clone(),
            id: request.id.clone(),
            cause: request.cause.clone(),
        };
        let _turn = self.turn.lock().await;
        match &request.letters {
            Some(names) => self.named(names, &filter, redeem, request.values).await,
            None => {
                let cursor = after.unwrap_or_default();
                let page = Making { filter, redeem, letters_max, has_values: request.values };
                self.searched(cursor, request, &page).await
            }
        }
    }

    async fn named(
        &self,
        names: &[String],
        filter: &Filter,
        redeem: Option<Redeem>,
        has_values: bool,
    ) -> Result<Page, DeadLettersError> {
        if names.len() > NAMED_MAX {
            let expected =
                format!("`letters`: expected at most {NAMED_MAX}, found {}", names.len());
            return Err(DeadLettersError::Request(expected));
        }
        let parsed: Vec<_> = names.iter().map(|name| parse_name(name)).collect::<Result<_, _>>()?;
        let mut page = Page::default();
        let making = Making { filter: filter.clone(), redeem, letters_max: 1, has_values };
        for (partition, number) in parsed {
            let Some(after) = number.checked_sub(1).filter(|_| partition < self.process.partitions)
            else {
                continue;
            };
            let cursor = Cursor { partition, after, upto: Some(number) };
            let answer = self.ask(cursor, &making, 1).await?;
            page.add(partition, answer.letters, has_values);
        }
        Ok(page)
    }

    async fn searched(
        &self,
        mut cursor: Cursor,
        request: &Request,
        making: &Making,
    ) -> Result<Page, DeadLettersError> {
        let only = request.id.as_ref().map(|id| self.partition_of(request, id).0);
        let mut page = Page::default();
        if let Some(only) = only
            && cursor.partition != only
        {
            cursor = Cursor { partition: only, ..Cursor::default() };
        }
        let mut reads = 0;
        while cursor.partition < self.process.partitions {
            let left = making.letters_max - page.letters.len();
            if left == 0 || reads >= PAGE_READS_MAX {
                page.next = Some(cursor.to_string());
                break;
            }
            let Answer { letters, next } = self.ask(cursor, making, left).await?;
            reads += usize::from(!letters.is_empty() || next.is_some());
            page.add(cursor.partition, letters, making.has_values);
            cursor = match next {
                Some((after, upto)) => Cursor { after, upto: Some(upto), ..cursor },
                None if only.is_some() => break,
                None => Cursor { partition: cursor.partition + 1, ..Cursor::default() },
            };
        }
        Ok(page)
    }

    async fn ask(
        &self,
        cursor: Cursor,
        making: &Making,
        letters_max: usize,
    ) -> Result<Answer, DeadLettersError> {
        let (sender, answer) = oneshot::channel();
        let partition = Partition(cursor.partition);
        let question = Question {
            partition,
            after: cursor.after,
            upto: cursor.upto,
            filter: making.filter.clone(),
            redeem: making.redeem,
            letters_max,
            answer: sender,
        };
        let shard = self.process.shard_of(partition);
        self.process.inboxes[shard].push(Incoming::Dead(Box::new(question)));
        answer.await.map_err(|_| DeadLettersError::Stopped)
    }

    /// Where the letters of an id are. A type that nobody knows has none, wherever one looks.
    fn partition_of(&self, request: &Request, id: &str) -> Partition {
        let named = request.function_type.as_deref().and_then(|name| name.rsplit_once('/'));
        let known = named.and_then(|(namespace, name)| FunctionType::known(namespace, name));
        let address = Address::new(known.unwrap_or(self.process.reply_type), id);
        partition_of(&address, self.process.partitions)
    }
}

/// What a page is made of.
struct Making {
    filter: Filter,
    redeem: Option<Redeem>,
    letters_max: usize,
    has_values: bool,
}

impl Page {
    fn add(&mut self, partition: u16, letters: Vec<(u64, DeadLetter)>, has_values: bool) {
        let letters = letters.into_iter();
        self.letters.extend(letters.map(|(number, letter)| {
            Letter::new(format!("{partition}-{number}"), letter, has_values)
        }));
    }
}

impl Letter {
    fn new(name: String, letter: DeadLetter, has_value: bool) -> Self {
        let DeadLetter { first_ms, died_ms, attempts, cause, message } = letter;
        let origin = match &message.caller {
            None => "ingress",
            Some(caller) if caller.function_type.namespace() == HTTP_NAMESPACE => "request",
            Some(_) => "function",
        };
        let (text, hex) = if has_value { shown(&message.value) } else { (None, None) };
        Self {
            letter: name,
            function_type: message.target.function_type.to_string(),
            id: message.target.id.to_string(),
            caller: message.caller.map(|caller| caller.to_string()),
            origin: origin.to_owned(),
            cause,
            attempts,
            first_call_ms: first_ms,
            died_ms,
            value_type: message.value.typename.to_string(),
            value_bytes: message.value.value.len(),
            text,
            hex,
        }
    }
}

/// A value as text, where it is a text, a number or a boolean, or else in hexadecimal digits.
fn shown(value: &TypedValue) -> (Option<String>, Option<String>) {
    match primitive(value).or_else(|| printable(&value.value)) {
        Some(text) => (Some(text), None),
        None => {
            let mut hex = String::with_capacity(value.value.len() * 2);
            for byte in &value.value {
                write!(hex, "{byte:02x}").expect("a string takes every text");
            }
            (None, Some(hex))
        }
    }
}

/// What a value of one of StateFun's own types says.
fn primitive(value: &TypedValue) -> Option<String> {
    let bytes = &value.value;
    match value.typename.as_str() {
        types::STRING => types::decode_string(bytes).ok(),
        types::BOOL => types::decode_bool(bytes).ok().map(|value| value.to_string()),
        types::INT => types::decode_int(bytes).ok().map(|value| value.to_string()),
        types::LONG => types::decode_long(bytes).ok().map(|value| value.to_string()),
        types::FLOAT => types::decode_float(bytes).ok().map(|value| value.to_string()),
        types::DOUBLE => types::decode_double(bytes).ok().map(|value| value.to_string()),
        _ => None,
    }
}

fn printable(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_odd = |c: char| c.is_control() && !c.is_whitespace();
    (!text.contains(is_odd)).then(|| text.to_owned())
}

fn parse_name(name: &str) -> Result<(u16, u64), DeadLettersError> {
    let parts = name.split_once('-');
    let parsed = parts.and_then(|(p, number)| Some((p.parse().ok()?, number.parse().ok()?)));
    parsed.ok_or_else(|| {
        let expected = "expected the name of a dead letter, such as `17-42`";
        DeadLettersError::Request(format!("`letters`: {expected}, found `{name}`"))
    })
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.partition, self.after)?;
        self.upto.map_or(Ok(()), |upto| write!(f, "-{upto}"))
    }
}

impl Cursor {
    fn parse(text: &str) -> Result<Self, DeadLettersError> {
        let wrong = || {
            let expected = "expected the `next` of the page before";
            DeadLettersError::Request(format!("`after`: {expected}, found `{text}`"))
        };
        let mut parts = text.splitn(3, '-');
        let mut number = || parts.next().map(str::parse::<u64>);
        let (Some(Ok(partition)), Some(Ok(after))) = (number(), number()) else {
            return Err(wrong());
        };
        let partition = u16::try_from(partition).map_err(|_| wrong())?;
        let upto = number().transpose().map_err(|_| wrong())?;
        Ok(Self { partition, after, upto })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_others_are_refused() {
        for cursor in [
            Cursor { partition: 3, after: 7, upto: Some(u64::MAX) },
            Cursor { partition: 0, after: 0, upto: None },
        ] {
            assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }
        for text in ["", "1", "x-1", "70000-1", "1-2-3-4", "1--2", "-1-2"] {
            let Err(DeadLettersError::Request(why)) = Cursor::parse(text) else {
                panic!("{text} was read");
            };
            assert!(why.contains(&format!("found `{text}`")), "{why}");
        }
    }

    #[test]
    fn a_value_is_shown_as_text_when_it_is_text() {
        let value = |bytes: &'static [u8]| TypedValue::new("a/b", bytes);
        assert_eq!(shown(&value("Zoë\n".as_bytes())), (Some("Zoë\n".to_owned()), None));
        assert_eq!(shown(&value(b"\x00\xff")), (None, Some("00ff".to_owned())));
        assert_eq!(shown(&value(b"\x01")), (None, Some("01".to_owned())));
        let number = TypedValue::new(types::INT, types::encode_int(-7));
        assert_eq!(shown(&number), (Some("-7".to_owned()), None));
    }
}
