// SPDX-License-Identifier: Apache-2.0
//! A shell inside an image that has no way in.
//!
//! The images know nothing of tests. A unit with a shell on the second serial port is handed over
//! as systemd credentials in SMBIOS strings, which the hypervisor owns anyway.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use kiln::qemu::Machine;

/// `Type=exec` keeps the unit out of the boot: the job ends when the shell starts.
const UNIT: &str = "\
[Unit]
Description=Shell of the tests
DefaultDependencies=no
After=basic.target
[Service]
Type=exec
ExecStart=/bin/sh -c 'stty raw -echo && PS1= PS2= && export PS1 PS2 && exec /bin/sh'
StandardInput=tty
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
";

/// For what one [`Guest::run`] does, tries of its own included, on a machine that shares its
/// processor with six others.
const COMMAND: Duration = Duration::from_secs(900);

/// Credentials that a machine needs for a [`Guest`].
pub(crate) fn credentials() -> Vec<(String, Vec<u8>)> {
    let wanted = b"[Unit]\nWants=kiln-shell.service\n";
    vec![
        ("systemd.extra-unit.kiln-shell.service".into(), UNIT.into()),
        ("systemd.unit-dropin.multi-user.target".into(), wanted.into()),
    ]
}

/// The shell of a running machine.
#[derive(Debug)]
pub(crate) struct Guest {
    port: UnixStream,
    received: Vec<u8>,
    n_commands: usize,
}

/// What a command printed, on both outputs, and its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) status: i32,
    pub(crate) text: String,
}

impl Guest {
    /// The shell of a machine that is ready.
    pub(crate) fn of(machine: &Machine) -> Guest {
        Guest::on(machine.port().expect("the machine has a second serial port"))
    }

    /// The shell behind a machine's second serial port.
    ///
    /// QEMU drops what a guest says while nobody is connected, so the shell is asked until it
    /// answers. The answer is computed, so that an echo of the question is none.
    pub(crate) fn on(port: UnixStream) -> Guest {
        let mut guest = Guest { port, received: Vec::new(), n_commands: 0 };
        for attempt in 0..40 {
            guest.send(&format!("echo shell-is-up-$(({attempt}))\n"));
            let answer = format!("shell-is-up-{attempt}\n");
            if guest.find(&answer, Duration::from_secs(5)).is_some() {
                return guest;
            }
        }
        panic!("the guest's shell does not answer: {}", guest.shown());
    }

    fn send(&mut self, line: &str) {
        self.port.write_all(line.as_bytes()).expect("the guest takes commands");
    }

    /// Runs shell commands.
    pub(crate) fn run(&mut self, commands: &str) -> Output {
        self.n_commands += 1;
        let mark = format!("kiln-done-{} ", self.n_commands);
        // Through a file, so that programs see no terminal and print no colors.
        let line = format!(
            "{{ {}\n}} >/run/output 2>&1 </dev/null; s=$?; cat /run/output; echo \"{mark}$s.\"\n",
            commands.trim()
        );
        self.send(&line);
        let text = self.until(&mark, COMMAND).trim_end().to_owned();
        let status = self.until(".\n", Duration::from_secs(30));
        Output { status: status.parse().expect("a status"), text }
    }

    /// What comes before `mark`, which is taken too.
    fn until(&mut self, mark: &str, limit: Duration) -> String {
        self.find(mark, limit).unwrap_or_else(|| {
            panic!("no '{mark}' from the guest within {limit:?}: {}", self.shown())
        })
    }

    /// The same; none if it does not come in time.
    fn find(&mut self, mark: &str, limit: Duration) -> Option<String> {
        let deadline = Instant::now() + limit;
        loop {
            let found = self.received.windows(mark.len()).position(|part| part == mark.as_bytes());
            if let Some(at) = found {
                let rest = self.received.split_off(at + mark.len());
                let mut before = std::mem::replace(&mut self.received, rest);
                before.truncate(at);
                return Some(String::from_utf8_lossy(&before).replace('\r', ""));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.port.set_read_timeout(Some(left)).expect("a time above zero");
            let mut buffer = [0; 4096];
            match self.port.read(&mut buffer) {
                Ok(0) => panic!("the guest ended before '{mark}': {}", self.shown()),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("no '{mark}' from the guest: {error}: {}", self.shown()),
            }
        }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

/// Named checks on one machine: a boot is dear, so all of them are made and all failures told.
#[derive(Debug)]
pub(crate) struct Checks<'a> {
    subject: &'a str,
    n_passed: usize,
    failures: Vec<String>,
}

impl<'a> Checks<'a> {
    pub(crate) fn new(subject: &'a str) -> Checks<'a> {
        Checks { subject, n_passed: 0, failures: Vec::new() }
    }

    /// A fact that must hold; `found` is shown if it does not.
    pub(crate) fn that(&mut self, name: &str, holds: bool, found: &dyn std::fmt::Debug) {
        println!("{}: {name}: {}", self.subject, if holds { "ok" } else { "NOT SO" });
        if holds {
            self.n_passed += 1;
        } else {
            self.failures.push(format!("{name}\n    found: {found:?}"));
        }
    }

    /// Commands that must succeed and print exactly this.
    pub(crate) fn prints(&mut self, name: &str, guest: &mut Guest, commands: &str, wanted: &str) {
        let output = guest.run(commands);
        self.that(name, output.status == 0 && output.text == wanted, &output);
    }

    /// Commands that must succeed and print this among other things.
    pub(crate) fn mentions(&mut self, name: &str, guest: &mut Guest, commands: &str, wanted: &str) {
        let output = guest.run(commands);
        self.that(name, output.status == 0 && output.text.contains(wanted), &output);
    }

    pub(crate) fn finish(self) {
        assert!(
            self.failures.is_empty(),
            "{}: {} of {} checks failed:\n  {}",
            self.subject,
            self.failures.len(),
            self.failures.len() + self.n_passed,
            self.failures.join("\n  ")
        );
    }
}
