// SPDX-License-Identifier: Apache-2.0
//! The units of every image that `make boot` builds: machines alone, the quickstart, and the cluster
//! of static pods.
//!
//! The judge is the image's own systemd, in a namespace that makes the image's root the root: it
//! knows the settings that its own units use.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use kiln::plan::Plan;

use super::{ROLES, open, run, tool};
use crate::support::{
    files::Planned,
    qemu::{out_dir, repository},
};

/// What of a root `systemd-analyze` and the units need.
const JUDGE_AND_UNITS: [&str; 7] = [
    "etc/systemd",
    "lib",
    "lib64",
    "usr/bin/systemd-analyze",
    "usr/lib/systemd",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib64",
];

/// How exposed a service may be, in tenths of `systemd-analyze security`'s levels: a little more
/// than it was when this was written. A service of ours that is not here fails the test.
const LIMITS: [(&str, u32); 22] = [
    // Their settings leave them the network and the files that they write.
    ("etcd.service", 20),
    ("haproxy.service", 20),
    ("kube-apiserver.service", 20),
    ("kube-controller-manager.service", 20),
    ("kube-scheduler.service", 20),
    ("nginx.service", 20),
    // Both change the kernel's network: addresses the one, tables and sysctls the other.
    ("keepalived.service", 35),
    ("kube-proxy.service", 52),
    // Root, because the key that they call the API with is root's, or containerd's socket.
    ("kiln-api.service", 56),
    ("kiln-approve.service", 56),
    ("kiln-bring-up.service", 56),
    ("kiln-images.service", 56),
    // Root, who writes what metadata decides, wherever in the machine that is.
    ("kiln-init.service", 72),
    ("kiln-interfaces.service", 72),
    ("kiln-network.service", 72),
    ("kiln-ready.service", 72),
    ("kiln-recheck.service", 72),
    ("kiln-ssh.service", 72),
    ("kiln-state.service", 72),
    // Who may start containers, or tell containerd to, is the machine's master anyway.
    ("containerd.service", 100),
    ("kubelet.service", 100),
    // systemd's own, which makes partitions: a machine whose /var lies elsewhere leaves it out.
    ("systemd-repart.service", 100),
];

/// Workspaces, where their images are, and what builds them.
fn built() -> [(&'static str, PathBuf, &'static str); 3] {
    let out = |name: &str| repository().join(name);
    [
        ("tests/machines", out_dir(), "make machines"),
        (".", out("out"), "make images"),
        ("tests/static-pods", out("out/static-pods"), "make boot"),
    ]
}

/// Shows every root to `judge`, or of every root what is at `paths`, with the plan that it was
/// built by.
fn look_at(paths: &[&str], judge: impl Fn(&str, &Path, &Plan)) {
    let scratch = tempfile::tempdir().expect("scratch");
    for (workspace, out, remedy) in built() {
        let planned = Planned::of(workspace);
        for role in ROLES {
            let squashfs = open(&out, role, remedy).extract(2, scratch.path());
            let root = scratch.path().join("root");
            run(tool("unsquashfs")
                .args(["-quiet", "-no-progress", "-no-xattrs", "-dest"])
                .args([&root, &squashfs])
                .args(paths));
            for folder in ["dev", "run", "tmp"] {
                fs::create_dir_all(root.join(folder)).expect("made");
            }
            // Masked units are links to it; an empty file masks as well.
            fs::write(root.join("dev/null"), "").expect("written");
            judge(&format!("{role} of '{workspace}'"), &root, planned.plan(role));
            fs::remove_dir_all(&root).expect("removed");
            fs::remove_file(squashfs).expect("removed");
        }
    }
}

fn analyze(root: &Path, verb: &str) -> Command {
    let mut command = tool("unshare");
    command.args(["--user", "--map-root-user", "chroot"]).arg(root);
    command.args(["/usr/bin/systemd-analyze", verb]);
    command
}

/// What is enabled and what Kiln writes must bring no word of complaint.
#[test]
fn the_units_satisfy_the_systemd_of_the_image() {
    look_at(&[], |image, root, plan| {
        let units = units_that_run(root);
        assert!(units.contains("kiln-ready.service"), "{image}: {units:?}");
        let enabled = &plan.profile.services.enable;
        assert!(enabled.is_subset(&units), "{image}: {enabled:?} of {units:?}");
        let verify =
            || run(analyze(root, "verify").args(["--man=no", "default.target"]).args(&units));
        assert_eq!(verify(), "", "{image}");
        let drop_in = root.join("etc/systemd/system/kiln-ready.service.d");
        fs::create_dir(&drop_in).expect("made");
        fs::write(drop_in.join("typo.conf"), "[Service]\nExecStrat=/bin/true\n").expect("written");
        assert!(verify().contains("Unknown key 'ExecStrat'"), "{image}: the judge is blind");
    });
}

/// Names of the units that somebody enabled and of those that Kiln writes.
fn units_that_run(root: &Path) -> BTreeSet<String> {
    let [shipped, enabled] = ["usr/lib", "etc"].map(|part| root.join(part).join("systemd/system"));
    let own = names(&shipped)
        .into_iter()
        .filter(|name| name.starts_with("kiln-") && !name.ends_with(".d"));
    let is_list = |name: &String| name.ends_with(".wants") || name.ends_with(".requires");
    let lists = names(&enabled).into_iter().filter(is_list);
    own.chain(lists.flat_map(|folder| names(&enabled.join(folder)))).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder of units");
    entries.map(|entry| entry.expect("readable").file_name().into_string().expect("text")).collect()
}

#[test]
fn no_service_is_more_exposed_than_its_work_asks_for() {
    look_at(&JUDGE_AND_UNITS, |image, root, plan| {
        let ours = services_of_ours(root);
        let known = |unit: &String| LIMITS.iter().any(|(name, _)| name == unit);
        let enabled: BTreeSet<String> =
            plan.profile.services.enable.iter().filter(|unit| known(unit)).cloned().collect();
        assert!(!enabled.is_empty() && enabled.is_subset(&ours), "{image}: {enabled:?} {ours:?}");
        let judge = |unit: &str, limit: u32| {
            let mut command = analyze(root, "security");
            command.args(["--offline=true", "--no-pager", &format!("--threshold={limit}"), unit]);
            command
        };
        for unit in &ours {
            let limit = LIMITS.iter().find(|(name, _)| name == unit);
            let (_, limit) = limit.unwrap_or_else(|| panic!("{image}: no limit for '{unit}'"));
            let table = run(&mut judge(unit, *limit));
            let verdict = table.lines().last().unwrap_or_default();
            assert!(verdict.contains(unit.as_str()), "{image}: {unit}: {table}");
            println!("{image}: {verdict}");
        }
        let output = judge("kiln-ready.service", 1).output().expect("unshare runs");
        assert!(!output.status.success(), "{image}: the judge is blind: {output:?}");
    });
}

/// Services that Kiln writes, and those of packages to which it adds something.
fn services_of_ours(root: &Path) -> BTreeSet<String> {
    let folder = root.join("usr/lib/systemd/system");
    let is_ours = |name: &String| {
        let added = folder.join(format!("{name}.d"));
        let has_ours = || names(&added).iter().any(|file| file.contains("kiln"));
        name.ends_with(".service")
            && (name.starts_with("kube")
                || name.starts_with("kiln-")
                || added.is_dir() && has_ours())
    };
    names(&folder).into_iter().filter(is_ours).collect()
}
