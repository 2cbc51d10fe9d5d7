//! From our types to the wire, for both sides: [`to_function`] is what a runtime sends,
//! [`from_function`] what a function answers. The length is counted first, then everything is written
//! once into one buffer of that length, with no message object in between.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    Address, Delayed, Effects, EgressRecord, Expiration, Invocation, Metadata, Response,
    StateMutation, StateSpec, TypedValue,
};

/// Protobuf's wire type of numbers.
const VARINT: u32 = 0;
/// Protobuf's wire type of what begins with its length.
const LENGTH_DELIMITED: u32 = 2;

/// A `ToFunction`: the whole batch, with every registered state, those without a value by name only.
#[must_use]
pub fn to_function(invocation: &Invocation) -> Bytes {
    write_exactly(|w| {
        w.message(100, |w| {
            w.address(1, &invocation.target);
            for (spec, value) in invocation.specs.iter().zip(&invocation.state) {
                w.message(2, |w| w.persisted_value(spec, value.as_ref()));
            }
            for message in &invocation.messages {
                w.message(3, |w| {
                    if let Some(caller) = &message.caller {
                        w.address(1, caller);
                    }
                    w.typed_value(2, &message.value);
                });
            }
        });
    })
}

/// A `FromFunction`. `specs` are those of the invocation that is answered.
///
/// # Panics
/// When an effect names a state by an index that is not one of `specs`.
#[must_use]
pub fn from_function(response: &Response, specs: &[StateSpec]) -> Bytes {
    write_exactly(|w| match response {
        Response::Effects(effects) => w.message(100, |w| w.effects(effects, specs)),
        Response::Incomplete(missing) => w.message(101, |w| {
            for spec in missing {
                w.message(1, |w| w.state_spec(spec));
            }
        }),
    })
}

/// Counts what is written, and writes it when there is a buffer.
struct Writer {
    length: usize,
    buffer: Option<BytesMut>,
}

fn write_exactly(body: impl Fn(&mut Writer)) -> Bytes {
    let length = count(&body);
    let mut writer = Writer { length: 0, buffer: Some(BytesMut::with_capacity(length)) };
    body(&mut writer);
    debug_assert_eq!(writer.length, length);
    writer.buffer.unwrap_or_default().freeze()
}

fn count(body: &impl Fn(&mut Writer)) -> usize {
    let mut counter = Writer { length: 0, buffer: None };
    body(&mut counter);
    counter.length
}

impl Writer {
    fn persisted_value(&mut self, spec: &StateSpec, value: Option<&Bytes>) {
        self.text(1, &spec.name);
        if let Some(value) = value {
            self.message(2, |w| w.present(&spec.typename, value));
        }
    }

    fn effects(&mut self, effects: &Effects, specs: &[StateSpec]) {
        for mutation in &effects.state {
            self.message(1, |w| w.mutation(mutation, specs));
        }
        for (target, value) in &effects.messages {
            self.message(2, |w| {
                w.address(1, target);
                w.typed_value(2, value);
            });
        }
        for delayed in &effects.delayed {
            self.message(3, |w| w.delayed(delayed));
        }
        for record in &effects.egress {
            self.message(4, |w| w.egress(record));
        }
    }

    fn mutation(&mut self, mutation: &StateMutation, specs: &[StateSpec]) {
        let spec = &specs[usize::from(mutation.spec)];
        self.flag(1, mutation.value.is_some());
        self.text(2, &spec.name);
        if let Some(value) = &mutation.value {
            self.message(3, |w| w.present(&spec.typename, value));
        }
    }

    fn delayed(&mut self, delayed: &Delayed) {
        match delayed {
            Delayed::Send { delay_ms, target, value, token } => {
                let signed = i64::try_from(*delay_ms).unwrap_or(i64::MAX);
                self.number(1, signed.unsigned_abs());
                self.address(2, target);
                self.typed_value(3, value);
                self.text(11, token.as_deref().unwrap_or_default());
            }
            Delayed::Cancel { token } => {
                self.flag(10, true);
                self.text(11, token);
            }
        }
    }

    fn egress(&mut self, record: &EgressRecord) {
        self.text(1, &record.egress.namespace);
        self.text(2, &record.egress.name);
        self.typed_value(3, &record.value);
    }

    /// The expiration is always there: empty means never, as Go and Python write it.
    fn state_spec(&mut self, spec: &StateSpec) {
        self.text(1, &spec.name);
        let (mode, after_ms) = match spec.expiration {
            Expiration::Never => (0, 0),
            Expiration::AfterWrite(ms) => (1, ms),
            Expiration::AfterInvoke(ms) => (2, ms),
        };
        self.message(2, |w| {
            w.number(1, mode);
            w.number(2, i64::try_from(after_ms).unwrap_or(i64::MAX).unsigned_abs());
        });
        self.text(3, &spec.typename);
    }

    fn address(&mut self, tag: u32, address: &Address) {
        self.message(tag, |w| {
            w.text(1, address.function_type.namespace());
            w.text(2, address.function_type.name());
            w.text(3, &address.id);
        });
    }

    fn typed_value(&mut self, tag: u32, value: &TypedValue) {
        self.message(tag, |w| {
            w.text(1, &value.typename);
            w.flag(2, value.has_value);
            w.bytes(3, &value.value);
            for metadata in value.metadata.iter().flat_map(|all| all.iter()) {
                w.message(4, |w| w.metadata(metadata));
            }
        });
    }

    fn metadata(&mut self, metadata: &Metadata) {
        self.text(1, &metadata.key);
        if let Some(value) = &metadata.value {
            self.bytes(2, value);
            self.flag(3, true);
        }
    }

    fn present(&mut self, typename: &str, value: &[u8]) {
        self.text(1, typename);
        self.flag(2, true);
        self.bytes(3, value);
    }

    /// An embedded message: written even when it is empty.
    fn message(&mut self, tag: u32, body: impl Fn(&mut Self)) {
        let length = count(&body);
        self.varint(u64::from(tag << 3 | LENGTH_DELIMITED));
        self.varint(length as u64);
        if self.buffer.is_some() {
            body(self);
        } else {
            self.length += length;
        }
    }

    fn text(&mut self, tag: u32, text: &str) {
        self.bytes(tag, text.as_bytes());
    }

    /// Empty is the default and not written, as for all scalars.
    fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.varint(u64::from(tag << 3 | LENGTH_DELIMITED));
        self.varint(bytes.len() as u64);
        self.length += bytes.len();
        if let Some(buffer) = &mut self.buffer {
            buffer.put_slice(bytes);
        }
    }

    fn flag(&mut self, tag: u32, value: bool) {
        self.number(tag, u64::from(value));
    }

    fn number(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.varint(u64::from(tag << 3 | VARINT));
            self.varint(value);
        }
    }

    fn varint(&mut self, mut value: u64) {
        let Some(buffer) = &mut self.buffer else {
            let significant_bits = 64 - (value | 1).leading_zeros() as usize;
            self.length += significant_bits.div_ceil(7);
            return;
        };
        while value >= 0x80 {
            buffer.put_u8(value as u8 | 0x80);
            self.length += 1;
            value >>= 7;
        }
        buffer.put_u8(value as u8);
        self.length += 1;
    }
}
