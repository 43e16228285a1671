// SPDX-License-Identifier: Apache-2.0
//! `pause`: who holds a pod's namespaces while its containers come and go?
//!
//! The first process of a pod's sandbox does nothing until the runtime stops it. If the pod shares
//! one PID namespace, the orphans of all its containers become children of this process, so it
//! reaps them; and as PID 1 it would not even be stopped by a signal that it does not handle.
//!
//! Kiln packs its own program into the sandbox image, so no registry has to serve one.

use rustix::process::{WaitOptions, wait};
use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::error::{Result, While as _};

/// The name under which the program is this and nothing else.
const NAME: &str = "pause";

/// The name under which the kernel starts the initramfs's program. It appends every word of its
/// command line that it does not know, and none of those may turn a booting machine into this.
const KERNEL_NAME: &str = "init";

/// Whether the command line asks for `pause`: by the program's own name, or as its only argument.
pub(crate) fn is_asked(program: &str, arguments: &[&str]) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    name == NAME || (name != KERNEL_NAME && arguments == [NAME])
}

/// Ends when asked to by SIGTERM or SIGINT.
pub(crate) fn run() -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGCHLD]).during("handling signals")?;
    // Children from before the handler was there.
    reap();
    for signal in &mut signals {
        if signal != SIGCHLD {
            return Ok(());
        }
        reap();
    }
    Ok(())
}

/// Takes every child that has ended; signals of several may have arrived as one.
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

#[cfg(test)]
mod tests {
    use super::is_asked;

    #[test]
    fn the_name_or_the_only_argument_asks_for_it() {
        assert!(is_asked("/pause", &[]));
        assert!(is_asked("pause", &["ignored"]));
        assert!(is_asked("/usr/lib/kiln/kiln-init", &["pause"]));
        assert!(!is_asked("/usr/lib/kiln/kiln-init", &["ready"]));
        assert!(!is_asked("/usr/lib/kiln/kiln-init", &[]));
        assert!(!is_asked("", &[]));
    }

    #[test]
    fn no_word_of_the_kernels_command_line_asks_for_it() {
        assert!(!is_asked("/init", &["pause"]));
        assert!(!is_asked("/init", &["pause", "quiet"]));
    }
}
