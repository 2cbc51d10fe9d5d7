//! What one in-process invocation costs in allocations: a function that reads and writes one state
//! and gets a message of 100 bytes must stay at a handful, whatever the batch.
#![allow(unsafe_code, reason = "an allocator that counts can only be written with unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use dormouse_sdk::protocol::{
    Address, FunctionType, Invocation, Message as Envelope, Response, TypedValue, types,
};
use dormouse_sdk::{Bytes, Context, FunctionError, Message, State, function, registered_functions};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const COUNT: State<i64> = State::new("count");

async fn counter(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    let count = ctx.get(&COUNT)?.unwrap_or(0);
    ctx.set(&COUNT, count + message.value().value.len() as i64)?;
    Ok(())
}

function! { "test/counter", states: [COUNT], counter }

/// Allocations of a batch of so many messages: the future; the held state; its bytes; the
/// effects.
fn allocations_of_a_batch(messages: usize) -> usize {
    let function = registered_functions()[0];
    let target = Address::new(FunctionType::new("test", "counter"), "Bob");
    let value = TypedValue::new("test/Payload", Bytes::from_static(&[7; 100]));
    let message = Arc::new(Envelope { target: target.clone(), caller: None, value });
    let invocation = Invocation {
        target,
        specs: function.specs().into(),
        state: vec![Some(types::encode_long(5))].into(),
        messages: vec![message; messages].into(),
        entries: None,
    };
    let before = ALLOCATIONS.get();
    let mut future = function.invoke(invocation);
    let polled = future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
    let allocations = ALLOCATIONS.get() - before;
    let Poll::Ready(Ok(Response::Effects(effects))) = polled else {
        panic!("expected effects, got {polled:?}");
    };
    let expected = types::encode_long(5 + 100 * messages as i64);
    assert_eq!(effects.state[0].value, Some(expected));
    allocations
}

#[test]
fn a_batch_costs_four_allocations_whatever_its_size() {
    assert_eq!(allocations_of_a_batch(1), 4);
    assert_eq!(allocations_of_a_batch(100), 4);
}
