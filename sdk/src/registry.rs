//! The functions that are linked into this process. [`crate::function!`] adds one; the runtime serves
//! them in-process, `dormouse-serve` over HTTP: both through the same [`FunctionDescriptor`].

use std::future::ready;
use std::sync::Arc;

use dormouse_protocol::{
    FunctionType, Invocation, InvokeError, ParseTypeNameError, Response, StateSpec, TypeName,
};

use crate::batch::{Batch, BatchFuture};
use crate::function::{Function, FunctionProvider, InvokeFuture};
use crate::module::FunctionTarget;
use crate::state::StateDeclaration;

/// A function that was registered at link time.
#[derive(Clone, Copy, Debug)]
pub struct FunctionDescriptor {
    /// The function type, `<namespace>/<name>`; `<namespace>/*` for all of a namespace.
    pub name: &'static str,
    /// The states it reads and writes.
    pub states: &'static [StateDeclaration],
    /// Runs a batch whose states are complete.
    #[doc(hidden)]
    pub run: fn(Batch) -> BatchFuture,
}

inventory::collect!(FunctionDescriptor);

/// Registers an `async fn` as a function type of the process that links it.
///
/// The function takes `&mut Context` and a message: [`crate::Message`], or a type that implements
/// [`crate::ValueType`], in which case a message of another type is an error that names both. It must
/// be `Send` at its `await`s, so that it can be served remotely as well.
///
/// ```
/// use dormouse_sdk::{Context, FunctionError, Message, State, function};
///
/// const VISITS: State<i32> = State::new("visits");
///
/// async fn person(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
///     let visits = ctx.get(&VISITS)?.unwrap_or(0) + 1;
///     ctx.set(&VISITS, visits)?;
///     ctx.send(("example/greeter", ctx.id().to_owned()), message)
/// }
///
/// async fn greeter(ctx: &mut Context, name: String) -> Result<(), FunctionError> {
///     ctx.reply(format!("Hello {name}!"))
/// }
///
/// function! { "example/person", states: [VISITS], person }
/// function! { "example/greeter", greeter }
/// ```
///
/// `match: [...]` takes a handler for each of several types of messages, `else: ...` one for all other
/// messages, which takes a [`crate::Message`]; without it a message of another type is an error that
/// names those which are known. Two handlers of one type do not compile:
///
/// ```
/// use dormouse_sdk::{Context, FunctionError, Message, function};
///
/// async fn add(ctx: &mut Context, more: i64) -> Result<(), FunctionError> {
///     ctx.reply(more + 1)
/// }
///
/// async fn greet(ctx: &mut Context, name: String) -> Result<(), FunctionError> {
///     ctx.reply(format!("Hello {name}!"))
/// }
///
/// async fn ignore(_: &mut Context, _: Message) -> Result<(), FunctionError> {
///     Ok(())
/// }
///
/// function! { "example/both", match: [add, greet], else: ignore }
/// ```
///
/// ```compile_fail
/// # use dormouse_sdk::{Context, FunctionError, function};
/// # async fn add(_: &mut Context, _: i64) -> Result<(), FunctionError> { Ok(()) }
/// # async fn subtract(_: &mut Context, _: i64) -> Result<(), FunctionError> { Ok(()) }
/// function! { "example/both", match: [add, subtract] }
/// ```
///
/// A name that ends with `/*` serves every name of its namespace that nothing else serves by its exact
/// name; `ctx.address().function_type.name()` tells which one was meant.
#[macro_export]
macro_rules! function {
    (@register $name:expr, [$($state:expr),*], $batch:ident, $message:ident, $handle:block) => {
        // Names of items are seen by what the caller wrote, so they are none that anybody would use.
        fn __dormouse_run(mut $batch: $crate::private::Batch) -> $crate::private::BatchFuture {
            ::std::boxed::Box::pin(async move {
                let outcome = {
                    let run = ::std::pin::pin!(async {
                        while let ::std::option::Option::Some($message) = $batch.next_message()? {
                            $handle
                        }
                        ::std::result::Result::<(), $crate::FunctionError>::Ok(())
                    });
                    $crate::private::guard(run).await
                };
                $batch.finish(outcome)
            })
        }

        $crate::private::inventory::submit! {
            $crate::FunctionDescriptor {
                name: $crate::private::type_name($name),
                states: &[$($state.declaration()),*],
                run: __dormouse_run,
            }
        }
    };
    (@else $batch:ident, $message:ident, $other:path) => {
        $other(&mut $batch.context, $message).await?
    };
    (@else $batch:ident, $message:ident) => {
        return ::std::result::Result::Err($crate::private::unmatched(&$message, __DORMOUSE_TYPES))
    };
    ($name:expr, match: $($rest:tt)*) => {
        $crate::function! { $name, states: [], match: $($rest)* }
    };
    (
        $name:expr, states: [$($state:expr),* $(,)?],
        match: [$($handler:path),+ $(,)?] $(, else: $other:path)? $(,)?
    ) => {
        const _: () = {
            const __DORMOUSE_TYPES: &[&str] =
                $crate::private::distinct(&[$($crate::private::typename(&$handler)),+]);
            $crate::function! { @register $name, [$($state),*], batch, message, {
                $(
                    let message = match $crate::private::try_argument(message) {
                        ::std::result::Result::Ok(argument) => {
                            $handler(&mut batch.context, argument?).await?;
                            continue;
                        }
                        ::std::result::Result::Err(message) => message,
                    };
                )+
                $crate::function! { @else batch, message $(, $other)? }
            } }
        };
    };
    ($name:expr, $function:path $(,)?) => {
        $crate::function! { $name, states: [], $function }
    };
    ($name:expr, states: [$($state:expr),* $(,)?], $function:path $(,)?) => {
        const _: () = {
            $crate::function! { @register $name, [$($state),*], batch, message, {
                let argument = $crate::private::argument(message)?;
                $function(&mut batch.context, argument).await?;
            } }
        };
    };
}

/// All functions linked into this process, sorted by name.
#[must_use]
pub fn registered_functions() -> Vec<&'static FunctionDescriptor> {
    let mut functions: Vec<_> = inventory::iter::<FunctionDescriptor>.into_iter().collect();
    functions.sort_by_key(|function| function.name);
    functions
}

impl FunctionDescriptor {
    /// Which function types it serves.
    pub fn target(&self) -> Result<FunctionTarget, ParseTypeNameError> {
        let name = TypeName::parse(self.name)?;
        Ok(match name.name.as_str() {
            "*" => FunctionTarget::Namespace(name.namespace),
            _ => FunctionTarget::Exact(name),
        })
    }

    /// The states as the protocol has them.
    #[must_use]
    pub fn specs(&self) -> Vec<StateSpec> {
        self.states.iter().map(StateDeclaration::spec).collect()
    }

    /// Runs a batch. States that are declared but not among those of the invocation are asked for
    /// first, as a remote function does.
    #[must_use]
    pub fn invoke(&self, invocation: Invocation) -> BatchFuture {
        if let Some(missing) = self.missing(&invocation) {
            return Box::pin(ready(Ok(Response::Incomplete(missing))));
        }
        (self.run)(Batch::new(invocation))
    }

    fn missing(&self, invocation: &Invocation) -> Option<Vec<StateSpec>> {
        let listed = |state: &&StateDeclaration| {
            let mut specs = invocation.specs.iter();
            specs.any(|spec| spec.name == state.name)
        };
        if self.states.iter().all(|state| listed(&state)) {
            return None;
        }
        let missing = self.states.iter().filter(|state| !listed(state));
        Some(missing.map(StateDeclaration::spec).collect())
    }
}

impl Function for FunctionDescriptor {
    fn specs(&self) -> Option<Vec<StateSpec>> {
        Some(FunctionDescriptor::specs(self))
    }

    fn invoke(&self, invocation: Invocation) -> InvokeFuture {
        FunctionDescriptor::invoke(self, invocation)
    }
}

impl FunctionProvider for FunctionDescriptor {
    fn function(&self, function_type: FunctionType) -> Result<Box<dyn Function>, InvokeError> {
        let is_served = match self.target() {
            Ok(FunctionTarget::Namespace(namespace)) => namespace == function_type.namespace(),
            _ => function_type.as_str() == self.name,
        };
        if !is_served {
            return Err(InvokeError::new(format!(
                "function {} does not serve {function_type}",
                self.name
            )));
        }
        Ok(Box::new(*self))
    }
}

/// The linked function that serves a type: one with its exact name before one of its namespace.
#[must_use]
pub fn registered_function(function_type: FunctionType) -> Option<&'static FunctionDescriptor> {
    let linked = || inventory::iter::<FunctionDescriptor>.into_iter();
    let exact = linked().find(|function| function.name == function_type.as_str());
    exact.or_else(|| {
        let namespace = function_type.namespace();
        linked().find(|function| function.name.strip_suffix("/*") == Some(namespace))
    })
}

/// The provider of a registered function, to be bound to its type.
#[must_use]
pub fn provider(function: &FunctionDescriptor) -> Arc<dyn FunctionProvider> {
    Arc::new(*function)
}
