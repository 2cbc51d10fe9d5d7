//! The functions that are linked into this process. [`crate::function!`] adds one; the runtime serves
//! them in-process, `dormouse-serve` over HTTP: both through the same [`FunctionDescriptor`].

use std::future::ready;
use std::sync::Arc;

use dormouse_protocol::{
    FunctionType, Invocation, InvokeError, ParseTypeNameError, Response, StateSpec,
};

use crate::batch::{Batch, BatchFuture};
use crate::function::{Function, FunctionProvider, InvokeFuture};
use crate::state::StateDeclaration;

/// A function that was registered at link time.
#[derive(Clone, Copy, Debug)]
pub struct FunctionDescriptor {
    /// The function type: `<namespace>/<name>`.
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
#[macro_export]
macro_rules! function {
    ($name:expr, $function:path $(,)?) => {
        $crate::function! { $name, states: [], $function }
    };
    ($name:expr, states: [$($state:expr),* $(,)?], $function:path $(,)?) => {
        const _: () = {
            fn run(mut batch: $crate::private::Batch) -> $crate::private::BatchFuture {
                ::std::boxed::Box::pin(async move {
                    let outcome = {
                        let run = ::std::pin::pin!(async {
                            while let ::std::option::Option::Some(message) = batch.next_message()? {
                                let argument = $crate::private::argument(message)?;
                                $function(&mut batch.context, argument).await?;
                            }
                            ::std::result::Result::<(), $crate::FunctionError>::Ok(())
                        });
                        $crate::private::guard(run).await
                    };
                    batch.finish(outcome)
                })
            }

            $crate::private::inventory::submit! {
                $crate::FunctionDescriptor {
                    name: $crate::private::type_name($name),
                    states: &[$($state.declaration()),*],
                    run,
                }
            }
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
    /// The function type.
    pub fn function_type(&self) -> Result<FunctionType, ParseTypeNameError> {
        FunctionType::parse(self.name)
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
        if function_type.as_str() != self.name {
            return Err(InvokeError::new(format!(
                "function {} does not serve {function_type}",
                self.name
            )));
        }
        Ok(Box::new(*self))
    }
}

/// The provider of a registered function, to be bound to its type.
#[must_use]
pub fn provider(function: &FunctionDescriptor) -> Arc<dyn FunctionProvider> {
    Arc::new(*function)
}
