//! Turns a panic of the engine into a failure that names its message and line, without printing it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_CATCHING: RefCell<bool> = const { RefCell::new(false) };
}

static HOOK: Once = Once::new();

pub(crate) fn catch<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if IS_CATCHING.with_borrow(|is_catching| *is_catching) {
                PANIC.set(Some(info.to_string()));
            } else {
                before(info);
            }
        }));
    });
    IS_CATCHING.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    IS_CATCHING.set(false);
    result.unwrap_or_else(|_| Err(PANIC.take().unwrap_or_else(|| "a panic".to_owned())))
}
