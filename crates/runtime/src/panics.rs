use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::thread;

thread_local! {
    /// In how many calls of [`unpanicked`] this thread is.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// What the last panic in one of them said.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs work of a library that may panic over wrong input where it should return an error; what the panic said is the
/// error. Such a panic is the fault of the input and not of the process, so it is not printed as others are: the log
/// has it at debug level, and the caller has it.
pub fn unpanicked<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    install_hook();
    DEPTH.set(DEPTH.get() + 1);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    done.map_err(|_| {
        let said = SAID.take().unwrap_or_default();
        tracing::debug!(panic = said, "library panicked");
        said
    })
}

/// Once, around the hook that is there.
fn install_hook() {
    static ONCE: Once = Once::new();
    // A thread that is panicking may not change the hook; another call will.
    if ONCE.is_completed() || thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let other = panic::take_hook();
        panic::set_hook(Box::new(move |info| match DEPTH.get() {
            0 => other(info),
            _ => SAID.set(Some(describe(info))),
        }));
    });
}

/// Without the place, which is a path on the machine that built this.
fn describe(info: &PanicHookInfo<'_>) -> String {
    info.payload_as_str().unwrap_or("no message").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_message_is_the_error_and_a_call_in_a_call_has_its_own() {
        assert_eq!(unpanicked(|| 7), Ok(7));
        let nested = unpanicked(|| {
            let inner = unpanicked(|| panic!("of {}", "the inner"));
            assert_eq!(inner, Err("of the inner".to_string()));
            panic!("of the outer")
        });
        assert_eq!(nested, Err::<(), _>("of the outer".to_string()));
    }

    #[test]
    fn only_panics_that_nobody_expects_are_printed() {
        const CHILD: &str = "FIRN_TEST_OF_PANICS";
        if std::env::var_os(CHILD).is_some() {
            let _expected = unpanicked(|| panic!("this is expected"));
            let _other = thread::spawn(|| panic!("this is not")).join();
            return;
        }
        // What is printed can be seen on the outside of a process.
        let name = "panics::tests::only_panics_that_nobody_expects_are_printed";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && printed.contains("this is not"), "{printed}");
        assert!(!printed.contains("this is expected"), "{printed}");
    }
}
