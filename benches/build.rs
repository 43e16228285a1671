// SPDX-License-Identifier: Apache-2.0
//! `kiln build` of all roles, cold and warm, against unpacking the same packages one after another.
//!
//! Everything is measured in one run on one machine, and judged as ratios: machines are noisy.
//! The downloads are shared; cold means that no unpacked package and no compressed block is cached.
#![expect(clippy::disallowed_methods, reason = "a benchmark times programs")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// Rounds; the best of each is compared, because noise only ever adds.
const ROUNDS: usize = 3;

/// What one command cost.
#[derive(Debug, Clone, Copy)]
struct Cost {
    seconds: f64,
    /// Largest resident set of one process, MiB.
    peak: f64,
}

fn main() {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::Builder::new().prefix("kiln-bench-").tempdir().expect("scratch");
    let cache = scratch.path().join("cache");
    let kiln = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.arg("--quiet").arg("--cache").arg(&cache).arg("-C").arg(&workspace);
        command.args(arguments);
        command
    };
    run(&mut kiln(&["fetch"]));
    let out = scratch.path().join("out");
    let out = out.to_str().expect("a plain path");
    let build = ["build", "--offline", "--out", out];

    let debs = debs(&cache.join("packages"));
    let (mut cold, mut warm, mut serial) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        for folder in ["unpacked", "blocks"] {
            let _ = fs::remove_dir_all(cache.join(folder));
        }
        cold.push(run(&mut kiln(&build)));
        warm.push(run(&mut kiln(&build)));
        serial.push(unpack_serially(&debs, &scratch.path().join("tree")));
        eprintln!("round {round} of {ROUNDS} done");
    }
    let (cold, warm, serial) = (best(&cold), best(&warm), best(&serial));
    println!("all roles, {} packages, best of {ROUNDS} rounds", debs.len());
    println!("  unpacking serially  {:7.1} s   1.00", serial.seconds);
    for (name, cost) in [("build, cold cache", cold), ("build, warm cache", warm)] {
        println!(
            "  {name:<18}  {:7.1} s   {:.2}   peak {:.0} MiB",
            cost.seconds,
            cost.seconds / serial.seconds,
            cost.peak
        );
    }
}

fn best(costs: &[Cost]) -> Cost {
    let mut best = costs[0];
    for cost in costs {
        best.seconds = best.seconds.min(cost.seconds);
        best.peak = best.peak.max(cost.peak);
    }
    best
}

/// Runs to the end and takes the process's own resource usage.
fn run(command: &mut Command) -> Cost {
    let start = Instant::now();
    #[expect(clippy::zombie_processes, reason = "wait4 reaps it")]
    let child = command.stdout(Stdio::null()).spawn().expect("starts");
    let pid = libc::pid_t::try_from(child.id()).expect("a pid");
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    #[expect(unsafe_code, reason = "wait4 is the only call that gives one child's peak memory")]
    // SAFETY: both pointers are valid for the call, and wait4 fills `usage` or leaves zeros.
    let usage = unsafe {
        assert_eq!(libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()), pid);
        usage.assume_init()
    };
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{command:?}: {status}");
    Cost { seconds: start.elapsed().as_secs_f64(), peak: usage.ru_maxrss as f64 / 1024.0 }
}

fn debs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "deb") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What a builder that trusts dpkg does at the very least: `dpkg-deb -x`, package by package.
fn unpack_serially(debs: &[PathBuf], to: &Path) -> Cost {
    let _ = fs::remove_dir_all(to);
    let start = Instant::now();
    for deb in debs {
        let status =
            Command::new("dpkg-deb").arg("-x").arg(deb).arg(to).status().expect("dpkg-deb runs");
        assert!(status.success(), "dpkg-deb -x {}", deb.display());
    }
    let seconds = start.elapsed().as_secs_f64();
    fs::remove_dir_all(to).expect("removed");
    Cost { seconds, peak: 0.0 }
}
