// SPDX-License-Identifier: Apache-2.0
//! `kiln-init ready`: the one line that people and tests wait for.
//!
//! Ready means that systemd has nothing left to start, that no unit failed and that every unit
//! which the role needs is active. The service must be `Type=exec`, or systemd would wait for it.

use std::{
    fs,
    io::Read as _,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use kiln_init::handoff::Handoff;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{Pid, PidfdFlags},
};

use super::{handoff, instance, report};
use crate::{
    console::say,
    error::{Result, Stop, While as _},
};

/// Between two looks at a unit that is still starting or is being restarted: systemd has left
/// its boot by then and announces nothing more without a bus connection.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) fn run() -> Result<()> {
    let handoff = handoff()?;
    let outcome = wait(&handoff)?;
    let line = match &outcome {
        None => ready_line(&handoff)?,
        Some(trouble) => format!("not ready: {trouble}"),
    };
    say(&line);
    println!("{line}");
    report::send(if outcome.is_none() { "ready" } else { "not-ready" }, &line);
    outcome.map_or(Ok(()), |trouble| Err(Stop::new(trouble)))
}

fn ready_line(handoff: &Handoff) -> Result<String> {
    let instance = instance()?;
    let hostname =
        fs::read_to_string("/proc/sys/kernel/hostname").during("reading the host name")?;
    Ok(format!(
        "ready role={} hostname={} address={} version={} boot={:.1}",
        handoff.role,
        hostname.trim(),
        instance.address.as_deref().unwrap_or("none"),
        handoff.version,
        uptime()?.as_secs_f64(),
    ))
}

/// Nothing when the role is ready; else what is not, once the time is over or it is certain.
fn wait(handoff: &Handoff) -> Result<Option<String>> {
    let limit = Duration::from_secs(u64::from(handoff.ready_timeout));
    let left = || uptime().map(|up| limit.saturating_sub(up));
    let mut boot = systemctl(&["is-system-running", "--wait"])?;
    if !ended_within(&boot, left()?)? {
        let _ = boot.kill();
        let _ = boot.wait();
        let jobs = output(&["list-jobs", "--plain", "--no-legend", "--full"])?;
        return Ok(Some(pending(&jobs)));
    }
    boot.wait().during("waiting for systemctl")?;
    loop {
        let failed = output(&["list-units", "--failed", "--plain", "--no-legend", "--full"])?;
        if let Some(unit) = first_word(&failed) {
            return Ok(Some(format!("{unit}: {}", reason(unit)?)));
        }
        let Some(trouble) = not_active(&handoff.ready)? else { return Ok(None) };
        let left = left()?;
        if left.is_zero() {
            return Ok(Some(trouble));
        }
        thread::sleep(AGAIN.min(left));
    }
}

/// The first unit that the role needs and that is not active.
fn not_active(units: &[String]) -> Result<Option<String>> {
    for unit in units {
        let state = show(unit)?;
        if state.active != "active" {
            return Ok(Some(format!("{unit}: {}", state.describe())));
        }
    }
    Ok(None)
}

fn reason(unit: &str) -> Result<String> {
    Ok(show(unit)?.describe())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    load: String,
    active: String,
    sub: String,
    result: String,
    status: String,
}

impl State {
    fn parse(text: &str) -> Self {
        let mut state = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let slot = match key {
                "LoadState" => &mut state.load,
                "ActiveState" => &mut state.active,
                "SubState" => &mut state.sub,
                "Result" => &mut state.result,
                "ExecMainStatus" => &mut state.status,
                _ => continue,
            };
            value.clone_into(slot);
        }
        state
    }

    fn describe(&self) -> String {
        let Self { load, active, sub, result, status } = self;
        if load != "loaded" {
            return format!("unit is {load}");
        }
        match &**result {
            "" | "success" => format!("{active} ({sub})"),
            "exit-code" => format!("{active} ({sub}), exit status {status}"),
            other => format!("{active} ({sub}), {other}"),
        }
    }
}

fn show(unit: &str) -> Result<State> {
    let properties = "--property=LoadState,ActiveState,SubState,Result,ExecMainStatus";
    Ok(State::parse(&output(&["show", properties, "--", unit])?))
}

/// What systemd still starts, the running job first: the others wait for it.
fn pending(jobs: &str) -> String {
    let job = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        Some((words.next()?.to_owned(), words.nth(1)?.to_owned()))
    };
    let jobs: Vec<(String, String)> = jobs.lines().filter_map(job).collect();
    let running = jobs.iter().find(|(_, state)| state == "running").or(jobs.first());
    match running {
        Some((unit, _)) => format!("{unit}: still starting, {} jobs pending", jobs.len()),
        None => "systemd: still starting".to_owned(),
    }
}

fn first_word(text: &str) -> Option<&str> {
    text.split_ascii_whitespace().next()
}

fn uptime() -> Result<Duration> {
    let text = fs::read_to_string("/proc/uptime").during("reading /proc/uptime")?;
    let seconds = first_word(&text).and_then(|word| word.parse().ok());
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| Stop::new("reading /proc/uptime: expected seconds"))
}

fn systemctl(arguments: &[&str]) -> Result<Child> {
    Command::new("systemctl")
        .args(arguments)
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .during("starting systemctl")
}

fn output(arguments: &[&str]) -> Result<String> {
    let mut child = systemctl(arguments)?;
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(1 << 20).read_to_string(&mut text).during("reading from systemctl")?;
    }
    child.wait().during("waiting for systemctl")?;
    Ok(text)
}

/// Whether the process ends in time.
fn ended_within(child: &Child, time: Duration) -> Result<bool> {
    let task = "waiting for systemctl";
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Stop::new(task))?;
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty()).during(task)?;
    let timeout = Timespec::try_from(time).during(task)?;
    loop {
        match rustix::event::poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)) {
            Ok(n) => return Ok(n > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).during(task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_job_is_named_first() {
        let jobs = "100 multi-user.target start waiting\n101 etcd.service start running\n";
        assert_eq!(pending(jobs), "etcd.service: still starting, 2 jobs pending");
        assert_eq!(pending(""), "systemd: still starting");
    }

    #[test]
    fn a_unit_is_described_by_its_state() {
        for (text, description) in [
            (
                "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainStatus=1\n",
                "failed (failed), exit status 1",
            ),
            (
                "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=success\n",
                "activating (auto-restart)",
            ),
            (
                "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=timeout\n",
                "failed (failed), timeout",
            ),
            ("LoadState=not-found\nActiveState=inactive\nSubState=dead\n", "unit is not-found"),
        ] {
            assert_eq!(State::parse(text).describe(), description);
        }
    }

    #[test]
    fn a_process_that_does_not_end_in_time_is_noticed() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(!ended_within(&child, Duration::from_millis(10)).unwrap());
        drop(child.stdin.take());
        assert!(ended_within(&child, Duration::from_secs(60)).unwrap());
        child.wait().unwrap();
    }
}
