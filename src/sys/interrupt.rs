// SPDX-License-Identifier: Apache-2.0
//! Ctrl-C and SIGTERM.
//!
//! The first signal sets a flag that long loops look at with [`check`], so that they unwind and
//! remove what they had begun. A second signal, or a loop that has not ended after
//! [`GRACE`], ends the program at once; what [`scratch`](super::scratch) holds is removed first.

use std::{
    io::Write as _,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

/// Time for an orderly end: a blocked network read takes longer than people wait.
const GRACE: Duration = Duration::from_secs(2);

/// Status of a program ended by SIGINT, as shells report it.
const STATUS: i32 = crate::error::Exit::Interrupted as i32;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static WAITING: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

/// The user asked to stop.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Starts to listen for signals.
pub fn install() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("listening for signals")?;
    let listen = move || {
        let mut signals = signals.forever();
        signals.next();
        set();
        thread::spawn(|| {
            thread::sleep(GRACE);
            end();
        });
        signals.next();
        end();
    };
    thread::Builder::new().name("signals".into()).spawn(listen).context("listening for signals")?;
    Ok(())
}

/// Whether a signal has come.
pub fn pending() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// # Errors
/// A signal has come.
pub fn check() -> Result<(), Interrupted> {
    if pending() { Err(Interrupted) } else { Ok(()) }
}

/// Waits, but not beyond a signal.
///
/// # Errors
/// A signal has come.
pub fn wait(duration: Duration) -> Result<(), Interrupted> {
    let (lock, signalled) = &WAITING;
    let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = signalled.wait_timeout_while(guard, duration, |()| !pending());
    drop(waited);
    check()
}

fn set() {
    let (lock, signalled) = &WAITING;
    let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    INTERRUPTED.store(true, Ordering::Relaxed);
    drop(guard);
    signalled.notify_all();
}

fn end() -> ! {
    super::scratch::remove_all();
    // Nobody is left to tell if stderr is gone.
    let _ = writeln!(std::io::stderr(), "error: interrupted");
    std::process::exit(STATUS)
}
