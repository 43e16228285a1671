// SPDX-License-Identifier: Apache-2.0
//! kiln-init, the program: PID 1 of the initramfs, the kernel's module loader there, the services
//! of first boot in the real root, and the first process of every pod.
//!
//! What a host becomes is decided by the library; here it is read, mounted and written.

mod console;
mod error;
mod files;
#[cfg(test)]
mod loopback;
mod pause;
mod pid1;
mod service;
mod spent;
mod vmware;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (program, arguments) = words.split_first().map_or(("", &[][..]), |(it, rest)| (*it, rest));
    // A pod's first process is PID 1 too, of the pod's own namespace.
    let is_pause = pause::is_asked(program, arguments);
    // The kernel gives PID 1 those words of its command line that it does not know.
    if rustix::process::getpid().is_init() && !is_pause {
        pid1::run()
    }
    let outcome = match *arguments {
        _ if is_pause => pause::run(),
        // The kernel's request_module(): see pid1::modules.
        ["-q", "--", module] => pid1::load_for_kernel(module),
        [pid1::COLDPLUG, ref early @ ..] => pid1::coldplug(early),
        ["metadata"] => service::metadata::run(),
        ["recheck"] => service::recheck::run(),
        ["interfaces"] => service::interfaces::run(),
        ["ssh-keys"] => service::ssh::run(),
        ["await-api"] => service::bring_up::wait(),
        ["bring-up", folder] => service::bring_up::apply(folder),
        ["approve"] => service::approve::run(),
        ["network"] => service::network::run(),
        ["state"] => service::state::run(),
        ["ready"] => service::ready::run(),
        ["status"] => service::status::run(),
        ["answers", address] => service::answers::run(address),
        _ => {
            eprintln!(
                "usage: kiln-init metadata | recheck | interfaces | network | state | ssh-keys | await-api | \
                 bring-up FOLDER | approve | ready | status | answers ADDRESS:PORT | pause"
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
