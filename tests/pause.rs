// SPDX-License-Identifier: Apache-2.0
//! `kiln-init pause`, the first process of a pod, as a process here.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use kiln::{
    KILN_INIT,
    formats::oci::{self, Program},
    tree::{Content, TreePath},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Long enough on a busy machine; what works is over in milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

/// kiln-init under this name in a fresh folder.
fn program(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, KILN_INIT).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    (folder, file)
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Which signals a process handles, as the kernel says: one bit each.
fn handled(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

fn handles(pid: Pid, signal: Signal) -> bool {
    handled(pid) >> (signal.as_raw() - 1) & 1 == 1
}

/// Waits until the process would not die of the signal, as PID 1 would not either.
fn ready(child: &Child) {
    let signals = [Signal::TERM, Signal::INT, Signal::CHILD];
    until("handling signals", || {
        signals.iter().all(|signal| handles(pid(child), *signal)).then_some(())
    });
}

fn end(child: &mut Child) -> ExitStatus {
    until("ending", || child.try_wait().unwrap())
}

#[test]
fn it_waits_and_ends_in_peace_when_asked_to() {
    let (_folder, file) = program("kiln-init");
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = Command::new(&file).arg("pause").spawn().unwrap();
        ready(&child);
        assert!(child.try_wait().unwrap().is_none());
        kill_process(pid(&child), signal).unwrap();
        assert_eq!(end(&mut child).code(), Some(0), "{signal:?}");
    }
}

#[test]
fn its_own_name_is_enough() {
    let (_folder, file) = program("pause");
    let mut child = Command::new(&file).arg("whatever").spawn().unwrap();
    ready(&child);
    kill_process(pid(&child), Signal::TERM).unwrap();
    assert_eq!(end(&mut child).code(), Some(0));
}

/// A shell leaves children behind and becomes `pause`, which then is their parent: one ended
/// before the program started, the other ends while it waits.
#[test]
fn it_reaps_children_that_are_not_its_own() {
    let (_folder, file) = program("pause");
    let mut child = Command::new("sh")
        .args(["-c", "true & sleep 0.3 & exec \"$0\""])
        .arg(&file)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    ready(&child);
    let children = format!("/proc/{0}/task/{0}/children", pid(&child).as_raw_nonzero());
    until("reaping", || fs::read_to_string(&children).unwrap().trim().is_empty().then_some(()));
    assert!(child.try_wait().unwrap().is_none());
    kill_process(pid(&child), Signal::TERM).unwrap();
    assert_eq!(end(&mut child).code(), Some(0));
}

/// The firmware reads it before anything else runs, and every pod's sandbox starts it.
#[test]
fn the_program_stays_below_three_mebibytes() {
    assert!(KILN_INIT.len() < 3 << 20, "{} bytes", KILN_INIT.len());
}

/// What a node's images need of the network for a sandbox: nothing.
#[test]
fn the_sandbox_image_is_made_of_the_program_itself() {
    let program = Program {
        path: TreePath::literal("/pause"),
        content: Content::bytes(KILN_INIT),
        certificates: None,
        user: (65535, 65535),
        epoch: 0,
    };
    let image = program.image("kiln.internal/pause:1".parse().unwrap()).unwrap();
    let found = oci::read(&oci::archive(&[image]).unwrap()).unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].config.contains(r#""Entrypoint":["/pause"]"#), "{}", found[0].config);
}
