// SPDX-License-Identifier: Apache-2.0
//! Our squashfs writer against mksquashfs, in one run, on one tree, at one level and block size.
//!
//! `cargo bench --bench squashfs -- [DIR [ROUNDS]]` writes DIR as an image, in turns with
//! mksquashfs, and prints ratios: below 1 is better than mksquashfs. Processor time is the
//! steadier one on a machine that does other work too. Without DIR it is the root of the node's
//! image in `out/`.
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
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let directory = match arguments.next() {
        Some(directory) => PathBuf::from(directory),
        None => unpack_node(&scratch.path().join("root")),
    };
    let rounds: u32 = arguments.next().map_or(3, |rounds| rounds.parse().expect("a number"));
    let [our_image, their_image] = ["ours", "theirs"].map(|name| scratch.path().join(name));
    let options = Options::new(0);
    let tree = tree::load(&directory);
    println!(
        "{}: {} entries, rounds of ours / mksquashfs",
        directory.display(),
        tree.iter().count()
    );

    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let (ours, summary) = time(|| write(&tree, &options, &NoStore, &our_image));
        let (theirs, ()) = time(|| mksquashfs(&directory, &options, &their_image));
        let their_bytes = fs::metadata(&their_image).expect("an image").len();
        println!(
            "round {round}: time {:.2} s / {:.2} s = {:.3}, processor {:.3}, size {} / {their_bytes} = {:.4}",
            ours.wall,
            theirs.wall,
            ours.wall / theirs.wall,
            ours.processor / theirs.processor,
            summary.bytes,
            summary.bytes as f64 / their_bytes as f64,
        );
        ratios.push((ours.wall / theirs.wall, ours.processor / theirs.processor));
    }
    let (wall, processor): (Vec<f64>, Vec<f64>) = ratios.into_iter().unzip();
    println!("median ratios: time {:.3}, processor {:.3}", median(wall), median(processor));
    println!("peak memory {}", peak_memory());

    let store = Memory::default();
    let (cold, _) = time(|| write(&tree, &options, &store, &our_image));
    let (warm, summary) = time(|| write(&tree, &options, &store, &our_image));
    println!("store: empty {:.2} s, full {:.2} s, {summary:?}", cold.wall, warm.wall);
    let image = sys::fs::content(&our_image).expect("an image");
    let params = verity::Params { salt: [0; 32], uuid: uuid::Uuid::nil() };
    let (took, hashed) =
        time(|| verity::write(&image, &params, &mut std::io::sink()).expect("hashes"));
    println!("verity: {:.3} s, {} bytes", took.wall, hashed.bytes);
}

/// The root of the node's image as a folder, by unsquashfs.
fn unpack_node(to: &Path) -> PathBuf {
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("out/node");
    let manifest = fs::read(out.join("manifest.json")).expect("an image: run 'make images'");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let offset = manifest["partitions"][1]["offset"].to_string();
    let image = format!("{}-node.raw", manifest["cluster"].as_str().expect("a name"));
    let status = Command::new("unsquashfs")
        .args(["-quiet", "-no-progress", "-no-xattrs", "-offset", &offset, "-dest"])
        .arg(to)
        .arg(out.join(image))
        .stdout(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "unsquashfs reads the image");
    to.to_owned()
}

struct Took {
    wall: f64,
    /// In clock ticks, user and system, of this process and its ended children.
    processor: f64,
}

fn time<T>(work: impl FnOnce() -> T) -> (Took, T) {
    let (start, ticks) = (Instant::now(), processor_ticks());
    let result = work();
    let wall = start.elapsed().as_secs_f64();
    (Took { wall, processor: processor_ticks() - ticks }, result)
}

/// utime, stime, cutime and cstime of proc_pid_stat(5).
fn processor_ticks() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(|field| field.parse::<f64>().expect("ticks"))
        .sum()
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
