//! A test kit: runs one instance of a function in a test, without a runtime, a store or a clock, and says
//! what it did. State is kept between calls and expires by [`Instance::advance`], which moves the
//! instance's own clock and brings it the delayed messages that it has sent itself. Its parts panic
//! where a test cannot go on.
//!
//! ```
//! use std::time::Duration;
//! use dormouse_sdk::testing::{Instance, sent};
//! use dormouse_sdk::{Context, FunctionError, State, function};
//!
//! const BASKET: State<i32> = State::new("basket").expire_after_write(Duration::from_secs(60));
//!
//! async fn basket(ctx: &mut Context, items: i32) -> Result<(), FunctionError> {
//!     let all = ctx.get(&BASKET)?.unwrap_or(0) + items;
//!     ctx.set(&BASKET, all)?;
//!     ctx.send(("shop/log", "all"), all)
//! }
//!
//! function! { "shop/basket", states: [BASKET], basket }
//!
//! let mut ann = Instance::of("shop/basket", "Ann");
//! let outcome = ann.receive(2).unwrap();
//! assert_eq!(outcome.sent(), [sent(("shop/log", "all"), 2)]);
//! assert_eq!(ann.get(&BASKET), Some(2));
//! ann.advance(Duration::from_secs(60));
//! assert_eq!(ann.get(&BASKET), None);
//! assert!(ann.receive("two").is_err());
//! ```
#![allow(clippy::expect_used, reason = "a test that cannot go on should panic")]

mod instance;
mod outcome;
mod rows;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::{self, Thread};

pub use instance::{Due, Incoming, Instance};
pub use outcome::{DelayedSend, Failure, Outcome, Record, Sent, record, sent};

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread. One that waits for timers or sockets of tokio needs tokio: see
/// [`Instance::handle`].
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = TaskContext::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
