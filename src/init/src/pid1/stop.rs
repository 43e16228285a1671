// SPDX-License-Identifier: Apache-2.0
//! The end of a boot that was refused: one message, then hold, reboot or power off.

use std::{fmt::Display, fs, thread, time::Duration};

use kiln_contract::cmdline::{self, ON_FAILURE};
use rustix::system::RebootCommand;

use crate::console::say;

/// How long a message stays on the screen before the machine goes.
const READING_TIME: Duration = Duration::from_secs(10);

pub(super) fn stop(error: &dyn Display) -> ! {
    say(format_args!("first boot stopped: {error}"));
    if let Some(command) = on_failure() {
        thread::sleep(READING_TIME);
        rustix::fs::sync();
        let _ = rustix::system::reboot(command);
    }
    hold()
}

/// What the kernel command line wants done with a machine whose first boot was refused; none is
/// to hold.
pub(crate) fn on_failure() -> Option<RebootCommand> {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    match cmdline::value(&command_line, ON_FAILURE) {
        Some("reboot") => Some(RebootCommand::Restart),
        Some("poweroff") => Some(RebootCommand::PowerOff),
        _ => None,
    }
}

/// A panic of ours must not become the kernel's: PID 1 that ends is a kernel panic without a word.
pub(super) fn hold_on_panic() {
    std::panic::set_hook(Box::new(|info| stop(&format_args!("a bug of kiln-init: {info}"))));
}

fn hold() -> ! {
    loop {
        rustix::event::pause();
    }
}
