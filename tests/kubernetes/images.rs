// SPDX-License-Identifier: Apache-2.0
//! What machines run before their kubelet: the loader of container images, before a `ctr` that
//! notes what it is told.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use kiln::kubernetes::bring_up::LOADER_TEXT;

/// As containerd 1.7: `images import` knows no `--label`.
const CTR: &str = "#!/bin/sh
echo \"$CONTAINERD_NAMESPACE $*\" >> \"$0.log\"
case \"$*\" in
'images import '*broken.tar) exit 1 ;;
'images ls --quiet labels.kiln==brought') cat \"$0.old\" ;;
esac
";

/// What `ctr` was told about a folder of archives, and whether the loader was content.
fn load(archives: &[&str], names: &str, old: &str) -> (Vec<String>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for archive in archives {
        fs::write(path(archive), "").unwrap();
    }
    fs::write(path("names"), names).unwrap();
    fs::write(path("loader"), LOADER_TEXT).unwrap();
    fs::write(path("ctr"), CTR).unwrap();
    fs::set_permissions(path("ctr"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(path("ctr.old"), old).unwrap();
    let status = Command::new("/bin/sh")
        .arg(path("loader"))
        .arg(folder.path())
        .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .status()
        .unwrap();
    let log = fs::read_to_string(path("ctr.log")).unwrap();
    let prefix = format!("{}/", folder.path().display());
    (log.lines().map(|line| line.replace(&prefix, "")).collect(), status.success())
}

#[test]
fn images_that_a_machine_brings_are_pinned_and_those_of_the_last_version_no_longer() {
    let (log, is_done) = load(
        &["a.tar", "pause.tar"],
        "a.b/c:2\nlocalhost/pause:1\n",
        "a.b/c:1\nlocalhost/pause:1\n",
    );
    assert!(is_done);
    assert_eq!(
        log,
        [
            "k8s.io images import a.tar",
            "k8s.io images import pause.tar",
            "k8s.io images ls --quiet labels.kiln==brought",
            "k8s.io images label a.b/c:1 kiln= io.cri-containerd.pinned=",
            "k8s.io images label a.b/c:2 kiln=brought io.cri-containerd.pinned=pinned",
            "k8s.io images label localhost/pause:1 kiln=brought io.cri-containerd.pinned=pinned",
        ]
    );
}

#[test]
fn an_archive_that_containerd_does_not_take_stops_the_loader() {
    let (log, is_done) = load(&["broken.tar", "pause.tar"], "localhost/pause:1\n", "");
    assert!(!is_done);
    assert_eq!(log, ["k8s.io images import broken.tar"]);
}
