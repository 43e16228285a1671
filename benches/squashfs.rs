// SPDX-License-Identifier: Apache-2.0
//! Our squashfs writer against mksquashfs, in one run, on one tree, at one level and block size.
//!
//! `cargo bench --bench squashfs -- DIR [ROUNDS]` writes DIR as an image, in turns with
//! mksquashfs, and prints ratios: below 1 is better than mksquashfs.
#![expect(clippy::disallowed_methods, reason = "a bench measures the world")]

#[path = "../tests/support/tree.rs"]
mod tree;

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::Instant,
};

use kiln::{
    digest::Digest,
    formats::{
        squashfs::{self, BlockStore, NoStore, Options, Summary},
        verity,
    },
    sys,
    tree::Tree,
};

/// Keeps compressed blocks in memory, as a cache on disk would.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<Digest, Vec<u8>>>);

impl BlockStore for Memory {
    fn get(&self, key: &Digest) -> Option<Vec<u8>> {
        self.0.lock().expect("no panic").get(key).cloned()
    }

    fn put(&self, key: &Digest, value: &[u8]) {
        self.0.lock().expect("no panic").insert(*key, value.to_vec());
    }
}

fn main() {
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let Some(directory) = arguments.next().map(PathBuf::from) else {
        println!("squashfs: give a directory: cargo bench --bench squashfs -- DIR [ROUNDS]");
        return;
    };
    let rounds: u32 = arguments.next().map_or(3, |rounds| rounds.parse().expect("a number"));
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let (ours, theirs) = (scratch.path().join("ours"), scratch.path().join("theirs"));
    let options = Options::new(0);
    let tree = tree::load(&directory);
    println!(
        "{}: {} entries, rounds of ours / mksquashfs",
        directory.display(),
        tree.iter().count()
    );

    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let (our_time, summary) = time(|| write(&tree, &options, &NoStore, &ours));
        let (their_time, ()) = time(|| mksquashfs(&directory, &options, &theirs));
        let their_bytes = fs::metadata(&theirs).expect("an image").len();
        println!(
            "round {round}: time {our_time:.2} s / {their_time:.2} s = {:.3}, size {} / {their_bytes} = {:.4}",
            our_time / their_time,
            summary.bytes,
            summary.bytes as f64 / their_bytes as f64,
        );
        our_times.push(our_time);
        their_times.push(their_time);
    }
    println!("median time ratio {:.3}", median(our_times) / median(their_times));
    println!("peak memory {}", peak_memory());

    let store = Memory::default();
    let (cold, _) = time(|| write(&tree, &options, &store, &ours));
    let (warm, summary) = time(|| write(&tree, &options, &store, &ours));
    println!("store: empty {cold:.2} s, full {warm:.2} s, {summary:?}");
    let image = sys::fs::content(&ours).expect("an image");
    let params = verity::Params { salt: [0; 32], uuid: uuid::Uuid::nil() };
    let (seconds, hashed) =
        time(|| verity::write(&image, &params, &mut std::io::sink()).expect("hashes"));
    println!("verity: {seconds:.3} s, {} bytes", hashed.bytes);
}

fn time<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed().as_secs_f64(), result)
}

fn write(tree: &Tree, options: &Options, store: &dyn BlockStore, path: &Path) -> Summary {
    let mut out = BufWriter::new(File::create(path).expect("an image"));
    let summary = squashfs::write(tree, options, store, &mut out).expect("writes");
    out.flush().expect("writes");
    summary
}

fn mksquashfs(directory: &Path, options: &Options, path: &Path) {
    let status = Command::new("mksquashfs")
        .args([directory, path])
        .args(["-noappend", "-quiet", "-no-progress", "-comp", "zstd"])
        .args(["-Xcompression-level", &options.level.to_string()])
        .args(["-b", &options.block_size.to_string()])
        .args(["-processors", &rayon::current_num_threads().to_string()])
        .stdout(Stdio::null())
        .status()
        .expect("mksquashfs starts (squashfs-tools)");
    assert!(status.success(), "mksquashfs ended with {status}");
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |size| size.trim().to_owned())
}
