// SPDX-License-Identifier: Apache-2.0
//! The images that `make machines` made, judged by foreign tools, and built again elsewhere; and
//! the units of every image (`units`).

mod units;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::qemu::{machines, out_dir};

const ROLES: [&str; 3] = ["lb", "master", "node"];

struct Image {
    role: &'static str,
    raw: PathBuf,
    manifest: Value,
}

fn image(role: &'static str) -> Image {
    open(&out_dir(), role, "make machines")
}

/// The image of a role that a build put into `out`.
fn open(out: &Path, role: &'static str, remedy: &str) -> Image {
    let folder = out.join(role);
    let manifest = fs::read(folder.join("manifest.json"))
        .unwrap_or_else(|error| panic!("{}: {error}; run '{remedy}'", folder.display()));
    let manifest: Value = serde_json::from_slice(&manifest).expect("the manifest is JSON");
    let raw = folder.join(format!("{}-{role}.raw", text(&manifest["cluster"])));
    Image { role, raw, manifest }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected a string, found {value}"))
}

impl Image {
    /// Copies partition `number` to a file of its own, for tools that know no offsets.
    fn extract(&self, number: usize, to: &Path) -> PathBuf {
        let partition = &self.manifest["partitions"][number - 1];
        let (offset, size) = (
            partition["offset"].as_u64().expect("an offset"),
            partition["size"].as_u64().expect("a size"),
        );
        let mut raw = File::open(&self.raw).expect("the image");
        raw.seek(SeekFrom::Start(offset)).expect("inside the image");
        let path = to.join(format!("{}-{number}", self.role));
        let mut file = File::create(&path).expect("scratch");
        std::io::copy(&mut raw.take(size), &mut file).expect("copied");
        path
    }
}

/// A foreign program; some stand where only root's search path leads.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// The cache that `make machines` filled.
fn cache_dir() -> PathBuf {
    std::env::var_os("KILN_CACHE")
        .map_or_else(|| kiln::sys::cache_dir().expect("a cache folder"), PathBuf::from)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

#[test]
fn partition_tables_satisfy_sgdisk_and_sfdisk() {
    for role in ROLES {
        let image = image(role);
        let verdict = run(tool("sgdisk").arg("-v").arg(&image.raw));
        assert!(verdict.contains("No problems found"), "{role}: {verdict}");
        let verdict = run(tool("sfdisk").arg("--verify").arg(&image.raw));
        assert!(verdict.contains("No errors detected"), "{role}: {verdict}");
    }
}

#[test]
fn the_esp_satisfies_fsck_without_a_word_of_complaint() {
    let scratch = tempfile::tempdir().expect("scratch");
    for role in ROLES {
        let esp = image(role).extract(1, scratch.path());
        let verdict = run(tool("fsck.fat").arg("-n").arg(&esp));
        let complaints: Vec<&str> = verdict
            .lines()
            .filter(|line| !line.starts_with("fsck.fat ") && !line.contains(" files, "))
            .collect();
        assert!(complaints.is_empty(), "{role}: {complaints:?}");
    }
}

#[test]
fn the_root_is_what_its_hash_says_and_unsquashfs_reads_it() {
    let scratch = tempfile::tempdir().expect("scratch");
    for role in ROLES {
        let image = image(role);
        let root = image.extract(2, scratch.path());
        let verity = image.extract(3, scratch.path());
        run(tool("veritysetup")
            .arg("verify")
            .args([&root, &verity])
            .arg(text(&image.manifest["root-hash"])));
        let listing = run(tool("unsquashfs").arg("-lln").arg(&root));
        for wanted in ["squashfs-root/usr/lib/systemd/systemd", "squashfs-root/etc/passwd"] {
            assert!(listing.contains(wanted), "{role}: no {wanted}");
        }
        fs::remove_file(root).expect("removed");
        fs::remove_file(verity).expect("removed");
    }
}

#[test]
fn checksums_hold_and_the_manifest_says_what_is_absent() {
    for role in ROLES {
        let image = image(role);
        run(tool("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(out_dir().join(role)));
        let absent = image.manifest["absent"].as_object().expect("a map");
        assert!(absent.contains_key("kubernetes-binaries"), "{role}: {absent:?}");
        assert!(absent.contains_key("certificates"), "{role}: {absent:?}");
    }
}

#[test]
fn sizes_stay_within_their_budgets() {
    for role in ROLES {
        let sizes = image(role).manifest["sizes"].clone();
        let mib = |key: &str| sizes[key].as_u64().expect("a size") as f64 / f64::from(1 << 20);
        assert!(mib("kiln-init") < 3.0, "{role}: kiln-init has {:.2} MiB", mib("kiln-init"));
        assert!(mib("initrd") < 8.0, "{role}: the initrd has {:.2} MiB", mib("initrd"));
    }
}

/// Another folder, umask, time zone, language, core count and user, and no cached work: only the
/// downloads are shared.
#[test]
fn a_second_build_elsewhere_gives_the_same_bytes() {
    let scratch = tempfile::Builder::new().prefix("second build ").tempdir().expect("scratch");
    let workspace = scratch.path().join("elsewhere");
    let cache = scratch.path().join("cache");
    for folder in [&workspace, &cache] {
        fs::create_dir(folder).expect("made");
    }
    for name in ["cluster.yaml", "kiln.lock", "profiles", "overlays"] {
        run(tool("cp").arg("-rL").arg(machines().join(name)).arg(&workspace));
    }
    run(tool("cp").args(["-r", "--reflink=auto"]).arg(cache_dir().join("packages")).arg(&cache));
    let kiln = scratch.path().join("kiln");
    fs::copy(env!("CARGO_BIN_EXE_kiln"), &kiln).expect("copied");

    let root = rustix::process::geteuid().is_root();
    let mut shell = tool("sh");
    let script = "umask 0077; exec \"$@\"";
    shell.args(["-c", script, "sh"]);
    if root {
        // The sources and downloads must stay readable; only the results belong to the other user.
        run(tool("chmod").args(["-R", "a+rX"]).arg(scratch.path()));
        run(tool("chown").args(["-R", "65534:65534"]).arg(scratch.path()));
        shell.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    shell
        .arg("taskset")
        .args(["-c", "0"])
        .arg(&kiln)
        .args(["--quiet", "build", "--offline", "lb"])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", scratch.path())
        .env("KILN_CACHE", &cache)
        .env("TZ", "Pacific/Auckland")
        .env("LANG", "tr_TR.UTF-8")
        .current_dir(&workspace);
    run(&mut shell);

    for file in ["machines-lb.raw", "manifest.json", "SHA256SUMS"] {
        let verdict = tool("cmp")
            .arg(out_dir().join("lb").join(file))
            .arg(workspace.join("out/lb").join(file))
            .output()
            .expect("cmp runs");
        assert!(
            verdict.status.success(),
            "{file} differs: {}",
            String::from_utf8_lossy(&verdict.stdout)
        );
    }
}

/// `kiln build lb` of the machines' workspace into `out`, from the cache alone.
fn build_lb(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.arg("-C").arg(machines());
    command.args(["build", "lb", "--offline", "--out"]).arg(out);
    command
}

/// What is left in a folder that should hold nothing; an absent folder holds nothing.
fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.expect("readable").path()).collect()
}

#[test]
fn a_build_that_is_interrupted_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().expect("scratch");
    for stage in ["unpacking", "building 'lb'"] {
        let out = scratch.path().join("out");
        let mut build = build_lb(&out).stderr(Stdio::piped()).spawn().expect("kiln starts");
        let mut lines = BufReader::new(build.stderr.take().expect("piped")).lines();
        let reached = lines.any(|line| line.expect("text").starts_with(stage));
        assert!(reached, "the build never said '{stage}'");
        let pid = rustix::process::Pid::from_child(&build);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("alive");
        let last = lines.map(|line| line.expect("text")).last();
        assert_eq!(build.wait().expect("ends").code(), Some(130), "{stage}: {last:?}");
        assert_eq!(leftovers(&out), Vec::<PathBuf>::new(), "{stage}");
    }
}

#[test]
fn an_output_folder_that_cannot_be_made_is_refused() {
    let scratch = tempfile::tempdir().expect("scratch");
    let file = scratch.path().join("file");
    fs::write(&file, "").expect("written");
    let output = build_lb(&file.join("out")).output().expect("kiln runs");
    let text = String::from_utf8_lossy(&output.stderr);
    let expected = format!("error: creating folder '{}'\n", file.join("out").display());
    assert!(text.contains(&expected) && text.contains("Not a directory"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

/// A file system of 16 MiB of its own, in a namespace, so that nothing of this machine is full.
#[test]
fn a_full_disk_is_refused_before_the_first_byte() {
    let scratch = tempfile::tempdir().expect("scratch");
    let script = "mount -t tmpfs -o size=16m none \"$1\" && shift && exec \"$@\"";
    let build = build_lb(scratch.path());
    let output = tool("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(scratch.path())
        .arg(build.get_program())
        .args(build.get_args())
        .output()
        .expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("has 16 MiB free, "), "{text}");
    assert!(text.contains("are needed for the images"), "{text}");
    assert!(text.ends_with("another place with --out DIR\n"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}
