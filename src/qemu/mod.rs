// SPDX-License-Identifier: Apache-2.0
//! Virtual machines that boot an image: for `kiln boot` and for the tests.
//!
//! A [`Machine`] is a running QEMU. Its console is read line by line; a wait
//! ends with the line that was wanted, or at once with a line that always means failure, or
//! with the limit. The machine ends with its value.
#![expect(clippy::disallowed_methods, reason = "the I/O ring")]

mod command;
mod console;
mod host;

use std::{
    fs,
    io::{Read, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};

pub use self::{
    command::{Bus, Card, Changes, Network, Spec},
    console::{FAILURES, Lines, Ready, failure},
    host::{Acceleration, Firmware, Host, find_program},
};
use crate::error::refuse;

/// A running virtual machine.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    pub acceleration: Acceleration,
    started: Instant,
    events: Receiver<Event>,
    /// Every console line so far.
    lines: Vec<String>,
    /// Lines that an earlier wait has looked at.
    seen: usize,
    /// What stands after the last line's end.
    partial: String,
    ended: bool,
    echo: bool,
    scratch: tempfile::TempDir,
}

#[derive(Debug)]
enum Event {
    /// Lines that became whole, and what follows them.
    Console(Vec<String>, String),
    /// QEMU's own words.
    Complaint(String),
    End,
}

/// Lines of the console that an error shows.
const SHOWN_LINES: usize = 25;

impl Machine {
    /// Starts a machine as fast as this host can run it.
    pub fn start(host: &Host, spec: &Spec) -> Result<Machine> {
        let acceleration = match spec.changes {
            Changes::Drop => host.acceleration(&spec.disk),
            // A probe must not write to a disk that is kept.
            Changes::DropFrom(_) | Changes::Keep | Changes::KeepRaw => {
                host.probed().unwrap_or(Acceleration::Tcg)
            }
        };
        Machine::start_with(host, acceleration, spec)
    }

    /// Starts a machine in the way that is asked for.
    pub fn start_with(host: &Host, acceleration: Acceleration, spec: &Spec) -> Result<Machine> {
        let task = || format!("starting a machine on '{}'", spec.disk.display());
        if spec.bios && !spec.kernel.is_empty() {
            let fact = "legacy firmware hands no words over to the kernel";
            return Err(refuse(fact, "start the machine by UEFI")).with_context(task);
        }
        let scratch = tempfile::Builder::new().prefix("kiln-qemu-").tempdir().with_context(task)?;
        let vars = scratch.path().join("vars.fd");
        fs::copy(&host.firmware.vars, &vars).with_context(task)?;
        fs::set_permissions(&vars, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .with_context(task)?;
        let mut smbios = Vec::new();
        for text in command::smbios_strings(host, acceleration, spec) {
            let file = scratch.path().join(format!("smbios-{}", smbios.len()));
            fs::write(&file, text).with_context(task)?;
            smbios.push(file);
        }
        let port = scratch.path().join("port");
        let files = command::Scratch { vars: &vars, smbios: &smbios, port: &port };
        let arguments = command::arguments(host, acceleration, spec, &files);
        let mut child = Command::new(&host.qemu)
            .args(&arguments)
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| command::shown(&host.qemu, &arguments))
            .with_context(task)?;
        let (sender, events) = channel();
        let console = child.stdout.take().expect("piped");
        let complaints = child.stderr.take().expect("piped");
        let complaint_sender = sender.clone();
        thread::spawn(move || read_console(console, &sender));
        thread::spawn(move || read_complaints(complaints, &complaint_sender));
        Ok(Machine {
            child,
            acceleration,
            started: Instant::now(),
            events,
            lines: Vec::new(),
            seen: 0,
            partial: String::new(),
            ended: false,
            echo: false,
            scratch,
        })
    }

    /// Copies the console to stdout from now on.
    pub fn echo(&mut self) {
        self.echo = true;
    }

    /// Waits for a line that contains `wanted`, among those no earlier wait has passed.
    ///
    /// # Errors
    /// A line that always means failure, QEMU's end, or the limit; with the console's last lines.
    pub fn wait_for(&mut self, wanted: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            while let Some(line) = self.lines.get(self.seen) {
                self.seen += 1;
                if line.contains(wanted) {
                    return Ok(line.clone());
                }
                if let Some(failure) = console::failure(line) {
                    let line = line.clone();
                    self.drain(Duration::from_millis(500));
                    return Err(self.gave_up(wanted, &format!("'{failure}': {line}")));
                }
            }
            if self.ended {
                return Err(self.gave_up(wanted, "the machine ended"));
            }
            if !self.receive(deadline) {
                let waited = limit.as_secs();
                return Err(self.gave_up(wanted, &format!("not within {waited} s")));
            }
        }
    }

    /// Waits until the role is ready.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<Ready> {
        let line = self.wait_for(Ready::PREFIX, limit)?;
        Ready::parse(&line).ok_or_else(|| anyhow!("'{line}' is not a whole ready line"))
    }

    /// Waits until the guest has powered off or restarted.
    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        while !self.ended {
            if !self.receive(deadline) {
                return Err(
                    self.gave_up("the machine's end", &format!("not within {} s", limit.as_secs()))
                );
            }
        }
        self.seen = self.lines.len();
        self.child.wait().context("waiting for QEMU")
    }

    /// The second serial port.
    pub fn port(&self) -> Result<UnixStream> {
        let path = self.scratch.path().join("port");
        UnixStream::connect(&path).context("connecting to the machine's second serial port")
    }

    /// Every console line so far.
    pub fn console(&self) -> &[String] {
        &self.lines
    }

    /// Time since the machine was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes one event; no if the deadline passed.
    fn receive(&mut self, deadline: Instant) -> bool {
        match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Console(lines, partial)) => {
                for line in lines {
                    self.push(line);
                }
                self.partial = partial;
            }
            Ok(Event::Complaint(line)) => {
                // QEMU stops the guest after this, but lives on.
                self.ended |= line.contains("KVM internal error");
                self.push(format!("qemu: {line}"));
            }
            Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => self.ended = true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
        true
    }

    /// Takes what still comes within `limit`, for the report.
    fn drain(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.ended && self.receive(deadline) {}
    }

    fn push(&mut self, line: String) {
        if self.echo {
            // A closed stdout ends the echo, not the machine.
            self.echo = writeln!(std::io::stdout(), "{line}").is_ok();
        }
        self.lines.push(line);
    }

    fn gave_up(&self, wanted: &str, fact: &str) -> anyhow::Error {
        let first = self.lines.len().saturating_sub(SHOWN_LINES);
        let mut shown = self.lines.get(first..).unwrap_or_default().join("\n  | ");
        if !self.partial.is_empty() {
            shown = format!("{shown}\n  | {}", self.partial);
        }
        let age = self.age().as_secs();
        anyhow!("{fact}\n  console, {age} s after the start:\n  | {shown}")
            .context(format!("waiting for '{}'", wanted.trim()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only if QEMU has ended before, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_console(mut from: impl Read, to: &Sender<Event>) {
    let mut lines = Lines::default();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let whole = lines.push(buffer.get(..count).unwrap_or_default());
        if to.send(Event::Console(whole, lines.rest())).is_err() {
            return;
        }
    }
    // Nobody listens any more if the machine was dropped.
    let _ = to.send(Event::End);
}

fn read_complaints(mut from: impl Read, to: &Sender<Event>) {
    let mut lines = Lines::default();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        for line in lines.push(buffer.get(..count).unwrap_or_default()) {
            if to.send(Event::Complaint(line)).is_err() {
                return;
            }
        }
    }
}

/// Makes a qcow2 file that holds the changes to `image`.
pub fn create_overlay(image: &Path, overlay: &Path) -> Result<()> {
    let program = find_program("qemu-img").ok_or_else(|| {
        refuse("'qemu-img' is not in PATH", "install it: package qemu-utils (Debian) or qemu-img")
    })?;
    let task = || format!("creating '{}'", overlay.display());
    let image: PathBuf = fs::canonicalize(image).with_context(task)?;
    let output = Command::new(program)
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .args([&*image, overlay])
        .stdin(Stdio::null())
        .output()
        .with_context(task)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(anyhow!("qemu-img: {}", words.trim())).with_context(task);
    }
    Ok(())
}
