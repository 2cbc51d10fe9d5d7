//! What a function is given: one message, raw or as a value of the type that the function expects.

use std::sync::Arc;

use dormouse_protocol::{Address, Metadata, TypedValue};

use crate::value::{ValueError, ValueType, decode_value};

/// A message for a function. Cloning one copies a pointer.
#[derive(Clone, Debug)]
pub struct Message(Arc<dormouse_protocol::Message>);

/// What a function can take as its message: [`Message`] itself, or any [`ValueType`].
pub trait FromMessage: Sized {
    /// Reads the message; one of another type is an error that names both.
    fn from_message(message: Message) -> Result<Self, ValueError>;
}

impl Message {
    pub(crate) fn new(message: Arc<dormouse_protocol::Message>) -> Self {
        Self(message)
    }

    /// Whether it is a value of this type.
    #[must_use]
    pub fn is<T: ValueType>(&self) -> bool {
        self.typename() == T::TYPENAME
    }

    /// The value, if it is one of this type and can be read; the error names both types.
    pub fn decode<T: ValueType>(&self) -> Result<T, ValueError> {
        decode_value(self.value())
    }

    /// The name of its type.
    #[must_use]
    pub fn typename(&self) -> &str {
        &self.0.value.typename
    }

    /// The value as it came.
    #[must_use]
    pub fn value(&self) -> &TypedValue {
        &self.0.value
    }

    /// Headers of the record that it came from, in order.
    #[must_use]
    pub fn metadata(&self) -> &[Metadata] {
        let metadata = self.0.value.metadata.as_deref();
        metadata.map_or(&[], Vec::as_slice)
    }

    /// Who sent it; a message from an ingress has no caller.
    #[must_use]
    pub fn caller(&self) -> Option<&Address> {
        self.0.caller.as_ref()
    }
}

impl FromMessage for Message {
    fn from_message(message: Message) -> Result<Self, ValueError> {
        Ok(message)
    }
}

impl<T: ValueType> FromMessage for T {
    fn from_message(message: Message) -> Result<Self, ValueError> {
        message.decode()
    }
}
