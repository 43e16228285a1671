// SPDX-License-Identifier: Apache-2.0
//! kiln-init, the program: PID 1 of the initramfs, the kernel's module loader there, and the
//! services of first boot in the real root.
//!
//! What a host becomes is decided by the library; here it is read, mounted and written.

mod console;
mod error;
mod files;
mod pid1;
mod service;
mod vmware;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|it| it.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // The kernel gives PID 1 those words of its command line that it does not know.
    if rustix::process::getpid().is_init() {
        pid1::run()
    }
    let outcome = match arguments[..] {
        // The kernel's request_module(): see pid1::modules.
        ["-q", "--", module] => pid1::load_for_kernel(module),
        [pid1::COLDPLUG] => pid1::coldplug(),
        ["metadata"] => service::metadata::run(),
        ["recheck"] => service::recheck::run(),
        ["interfaces"] => service::interfaces::run(),
        ["ssh-keys"] => service::ssh::run(),
        ["network"] => service::network::run(),
        ["state"] => service::state::run(),
        ["ready"] => service::ready::run(),
        ["status"] => service::status::run(),
        ["answers", address] => service::answers::run(address),
        _ => {
            eprintln!(
                "usage: kiln-init metadata | recheck | interfaces | network | state | ssh-keys | \
                 ready | status | answers ADDRESS:PORT"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            eprintln!("error: {stop}");
            ExitCode::FAILURE
        }
    }
}
