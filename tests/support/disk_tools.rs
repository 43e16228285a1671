// SPDX-License-Identifier: Apache-2.0
//! Foreign tools as oracles. A tool that is missing fails the test.

use std::{
    ffi::OsStr,
    io::Write as _,
    process::{Command, Stdio},
};

/// An argument of a tool: text or a path.
pub(crate) type Argument<'a> = &'a dyn AsRef<OsStr>;

/// What the tool printed; it must end with status 0.
pub(crate) fn tool(program: &str, arguments: &[Argument<'_>]) -> String {
    String::from_utf8(tool_bytes(program, arguments, b"")).expect("text")
}

/// The same for bytes, with bytes on standard input.
pub(crate) fn tool_bytes(program: &str, arguments: &[Argument<'_>], input: &[u8]) -> Vec<u8> {
    // Disk tools live where the PATH of an ordinary user does not look.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("starting '{program}': {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let output = std::thread::scope(|scope| {
        // A tool that does not read its input closes the pipe; that is its business.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("the tool ends")
    });
    assert!(
        output.status.success(),
        "'{program}' ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
