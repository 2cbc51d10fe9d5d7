//! Routers: what makes addressed messages of the records of an ingress. An ingress may have several, each
//! linked with [`crate::router!`]; every record goes through all of them, and each sends to any number
//! of addresses. An ingress asks for its [`Routers`] once and hands what they answer to its lane.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dormouse_protocol::{Message, TypeName, TypedValue};

use crate::batch::panicked;
use crate::context::IntoAddress;
use crate::error::FunctionError;
use crate::value::{IntoValue, ValueError, ValueType, decode_value};

/// Messages that all routers together may make of one record.
pub const ROUTED_MESSAGES_MAX: usize = 10_000;

/// Bytes that these messages may take in memory.
pub const ROUTED_BYTES_MAX: usize = 32 << 20;

/// A router that was registered at link time.
#[derive(Clone, Copy, Debug)]
pub struct RouterDescriptor {
    /// Its path in the program.
    pub name: &'static str,
    /// The id of the ingress whose records it is given.
    pub ingress: &'static str,
    /// Routes one record.
    #[doc(hidden)]
    pub route: fn(&TypedValue, &mut Downstream) -> Result<(), FunctionError>,
}

inventory::collect!(RouterDescriptor);

/// Registers a function as a router of the ingress with this id. It takes the record, as a
/// [`crate::ValueType`] or as the [`TypedValue`] that it is, and where to send.
///
/// ```
/// use dormouse_sdk::{FunctionError, router};
/// use dormouse_sdk::router::Downstream;
///
/// fn to_account(line: String, to: &mut Downstream) -> Result<(), FunctionError> {
///     let (account, amount) = line.split_once(' ').ok_or(FunctionError::new("no amount"))?;
///     to.send(("bank/account", account), amount.parse::<i64>()?)
/// }
///
/// fn to_audit(line: String, to: &mut Downstream) -> Result<(), FunctionError> {
///     to.send(("bank/audit", "all"), line)
/// }
///
/// router! { "bank/lines", to_account }
/// router! { "bank/lines", to_audit }
/// ```
#[macro_export]
macro_rules! router {
    ($ingress:expr, $router:path $(,)?) => {
        const _: () = {
            fn __dormouse_route(
                record: &$crate::protocol::TypedValue,
                to: &mut $crate::router::Downstream,
            ) -> ::std::result::Result<(), $crate::FunctionError> {
                $router($crate::private::record(record)?, to)
            }

            $crate::private::inventory::submit! {
                $crate::router::RouterDescriptor {
                    name: ::std::concat!(::std::module_path!(), "::", ::std::stringify!($router)),
                    ingress: $crate::private::type_name($ingress),
                    route: __dormouse_route,
                }
            }
        };
    };
}

/// What a router can take as its record.
pub trait FromRecord: Sized {
    /// Reads the record; one of another type is an error that names both.
    fn from_record(record: &TypedValue) -> Result<Self, ValueError>;
}

/// Where a router sends to.
#[derive(Debug, Default)]
pub struct Downstream {
    messages: Vec<Message>,
    bytes: usize,
}

/// The routers of one ingress.
#[derive(Clone, Debug)]
pub struct Routers {
    ingress: String,
    routers: Vec<&'static RouterDescriptor>,
}

/// Why a record was not routed: nothing of it is to be sent.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The record cannot be written down as a value.
    #[error("ingress {ingress}: {source}")]
    Record {
        /// The ingress's id.
        ingress: String,
        /// What is wrong.
        source: ValueError,
    },
    /// A router failed, or panicked.
    #[error(
        "router {router} of ingress {ingress} failed on a record of type `{typename}`: {error}"
    )]
    Router {
        /// The ingress's id.
        ingress: String,
        /// The router's path.
        router: &'static str,
        /// The type of the record.
        typename: String,
        /// Its error.
        error: FunctionError,
    },
}

/// All routers linked into this process, sorted by ingress and name.
#[must_use]
pub fn registered_routers() -> Vec<&'static RouterDescriptor> {
    let mut routers: Vec<_> = inventory::iter::<RouterDescriptor>.into_iter().collect();
    routers.sort_by_key(|router| (router.ingress, router.name));
    routers
}

impl Routers {
    /// Those of the ingress with this id; none, when none is linked.
    #[must_use]
    pub fn of(ingress: &TypeName) -> Self {
        let ingress = ingress.to_string();
        let mut routers = registered_routers();
        routers.retain(|router| router.ingress == ingress);
        Self { ingress, routers }
    }

    /// Whether there is none, so that records would get lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routers.is_empty()
    }

    /// The messages that the routers make of a record, in the order of the routers' names: all of them,
    /// or an error. They are to be submitted together: [`crate::ingress::Lane::submit_all`].
    pub fn route(&self, record: impl IntoValue) -> Result<Vec<Message>, RouteError> {
        let record = record.into_value().map_err(|source| {
            let ingress = self.ingress.clone();
            RouteError::Record { ingress, source }
        })?;
        let mut to = Downstream::default();
        for router in &self.routers {
            let routed = catch_unwind(AssertUnwindSafe(|| (router.route)(&record, &mut to)));
            routed.unwrap_or_else(|panic| Err(panicked(&*panic))).map_err(|error| {
                RouteError::Router {
                    ingress: self.ingress.clone(),
                    router: router.name,
                    typename: record.typename.to_string(),
                    error,
                }
            })?;
        }
        Ok(to.messages)
    }
}

impl Downstream {
    /// Sends a message to a function. It has no caller.
    pub fn send(
        &mut self,
        target: impl IntoAddress,
        value: impl IntoValue,
    ) -> Result<(), FunctionError> {
        let (target, value) = (target.into_address()?, value.into_value()?);
        let message = Message { target, caller: None, value };
        if self.messages.len() >= ROUTED_MESSAGES_MAX {
            let text = format!("more than {ROUTED_MESSAGES_MAX} messages of one record");
            return Err(FunctionError::new(text));
        }
        self.bytes += message.weight();
        if self.bytes > ROUTED_BYTES_MAX {
            let text =
                format!("the messages of one record take more than {ROUTED_BYTES_MAX} bytes");
            return Err(FunctionError::new(text));
        }
        self.messages.push(message);
        Ok(())
    }
}

impl FromRecord for TypedValue {
    fn from_record(record: &TypedValue) -> Result<Self, ValueError> {
        Ok(record.clone())
    }
}

impl<T: ValueType> FromRecord for T {
    fn from_record(record: &TypedValue) -> Result<Self, ValueError> {
        decode_value(record)
    }
}
