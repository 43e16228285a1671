// SPDX-License-Identifier: Apache-2.0
//! Builds kiln-init, which travels inside kiln.
//!
//! `KILN_INIT=FILE` takes a program that was built before. Otherwise cargo is called again with
//! a target folder of its own, because the two crates need different profiles and features.
//!
//! `KILN_SOURCES` becomes a number that changes with the sources: results that the cache keeps
//! belong to the kiln that made them.
#![expect(clippy::disallowed_methods, reason = "a build script talks to cargo")]

use std::{
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    println!("cargo::rerun-if-env-changed=KILN_INIT");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    println!("cargo::rustc-env=KILN_SOURCES={:016x}", sources(&root));
    let program = match env::var_os("KILN_INIT") {
        Some(program) => PathBuf::from(program),
        None => {
            for input in ["Cargo.toml", "Cargo.lock", ".cargo", "src/init", "src/contract"] {
                println!("cargo::rerun-if-changed={}", root.join(input).display());
            }
            build(&root)
        }
    };
    println!("cargo::rerun-if-changed={}", program.display());
    println!("cargo::rustc-env=KILN_INIT_PROGRAM={}", program.display());
}

/// A number that is another one when `Cargo.lock` or anything in `src` changes. The place of the
/// sources does not matter.
fn sources(root: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut left = vec![root.join("Cargo.lock"), root.join("src")];
    for path in &left {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a readable folder");
            let mut children: Vec<_> =
                entries.map(|entry| entry.expect("a readable folder").path()).collect();
            children.sort();
            left.extend(children);
        } else {
            path.strip_prefix(root).expect("below the root").hash(&mut hasher);
            fs::read(&path).expect("a readable file").hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn build(root: &Path) -> PathBuf {
    let target_dir = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")).join("init");
    let mut cargo = Command::new(env::var_os("CARGO").expect("set by cargo"));
    // What cargo set for this build script must not leak into the inner build.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_FEATURE_")
            || name.starts_with("CARGO_CFG_")
            || name.starts_with("DEP_")
            || matches!(&*name, "CARGO_ENCODED_RUSTFLAGS" | "RUSTFLAGS" | "TARGET" | "PROFILE")
        {
            cargo.env_remove(&name);
        }
    }
    let home = env::var("CARGO_HOME")
        .or_else(|_| env::var("HOME").map(|home| format!("{home}/.cargo")))
        .unwrap_or_default();
    // The same bytes wherever the sources and the registry lie.
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Crelocation-model=pie".to_owned(),
        format!("--remap-path-prefix={}=/kiln", root.display()),
        format!("--remap-path-prefix={home}=/cargo"),
    ];
    let status = cargo
        .current_dir(root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .args(["build", "--quiet", "--locked", "--profile", "init", "--package", "kiln-init"])
        .args(["--bin", "kiln-init", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .status()
        .expect("cargo starts");
    assert!(status.success(), "building kiln-init: cargo ended with {status}");
    target_dir.join(TARGET).join("init").join("kiln-init")
}
