// SPDX-License-Identifier: Apache-2.0
//! Lines on every console: each terminal that the kernel itself prints to.

use std::{
    fmt::Display,
    fs::{self, OpenOptions},
    io::Write as _,
};

use kiln_contract::CONSOLE_PREFIX;
use kiln_init::yaml::printable;

/// Prints one line on every console and into the kernel's log, where the journal finds it.
///
/// Nothing is done about a console that cannot be written: there is nobody to tell.
pub(crate) fn say(line: impl Display) {
    let line = printable(&line.to_string());
    for terminal in terminals() {
        write(&format!("/dev/{terminal}"), &format!("{CONSOLE_PREFIX}{line}\r\n"));
    }
    // Facility daemon, level debug: into the log, and not on the consoles a second time.
    write("/dev/kmsg", &format!("<31>{CONSOLE_PREFIX}{line}\n"));
}

/// Names below `/dev`; `tty0` is the foreground virtual terminal.
fn terminals() -> Vec<String> {
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let names: Vec<String> = active.split_ascii_whitespace().map(str::to_owned).collect();
    // Before /sys is mounted, and where the kernel has no console at all.
    if names.is_empty() { vec!["console".to_owned()] } else { names }
}

fn write(path: &str, text: &str) {
    // One write per line: kmsg makes a record of each.
    let _ =
        OpenOptions::new().write(true).open(path).and_then(|mut it| it.write_all(text.as_bytes()));
}
