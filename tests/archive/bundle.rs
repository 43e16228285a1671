// SPDX-License-Identifier: Apache-2.0
//! Programs of Kubernetes in tar archives: of the workspace, of a server, and hostile ones.

use std::{fs, process::Command};

use kiln::{checksum::Kind, error::Report};

use super::release::{V, all, end, put, section, taken};
use crate::support::release::{
    MASTER, NODE, bundle, digits, gzip, program, publish, tar, workspace,
};

const BUNDLE: &str = "release/v1.34.1/kubernetes-server-linux-amd64.tar.gz";

#[test]
fn an_archive_on_a_server_is_pinned_with_its_programs() {
    for kind in Kind::ALL {
        let workspace = workspace(&format!("version: {V}, binaries: 'http://SERVER/{BUNDLE}'"));
        let bytes = bundle(V);
        publish(&workspace, BUNDLE, &bytes, kind);
        workspace.run(&["lock"]).done();
        let expected = format!(
            "[kubernetes.\"{V}\".bundle]\nsize = {}\nsha256 = \"{}\"\n\
             url = \"http://SERVER/{BUNDLE}\"\npublished = \"{}:{}\"\n",
            bytes.len(),
            digits(Kind::Sha256, &bytes),
            kind.name(),
            digits(kind, &bytes),
        );
        let found = section(&workspace);
        assert!(found.contains(&expected) && found.matches("url =").count() == 1, "{found}");
        assert_eq!(taken(&workspace).unwrap(), all());
        workspace.run(&["lock"]).done();
        assert_eq!(section(&workspace), found);

        fs::remove_dir_all(workspace.path("cache")).unwrap();
        assert!(taken(&workspace).is_err());
        workspace.run(&["fetch"]).done();
        assert_eq!(taken(&workspace).unwrap(), all());
    }
}

#[test]
fn an_archive_in_the_workspace_is_read_plain_or_compressed() {
    for (name, bytes) in [
        ("server.tar.gz", bundle(V)),
        ("server.tgz", bundle(V)),
        ("server.tar", {
            let mut plain = Vec::new();
            let mut decoder = flate2::write::GzDecoder::new(&mut plain);
            std::io::Write::write_all(&mut decoder, &bundle(V)).unwrap();
            decoder.finish().unwrap();
            plain
        }),
    ] {
        let workspace = workspace(&format!("version: {V}, binaries: {name}"));
        put(&workspace, name, &bytes);
        workspace.run(&["lock"]).done();
        assert_eq!(section(&workspace).matches(".programs.").count(), 6);
        assert_eq!(taken(&workspace).unwrap(), all());
        // The cache may be removed at any time.
        fs::remove_dir_all(workspace.path("cache")).unwrap();
        assert_eq!(taken(&workspace).unwrap(), all());
        // Another archive under the same name is none that the lock knows.
        fs::remove_dir_all(workspace.path("cache")).unwrap();
        put(&workspace, name, &bundle("v1.34.11"));
        let error = taken(&workspace).unwrap_err();
        let report = Report(&error).to_string();
        assert!(report.contains(" in '") && report.contains("differs: expected "), "{report}");
    }
}

/// What people pack themselves, with long paths and in every format that GNU tar writes.
#[test]
fn archives_of_tar_are_read_in_each_of_its_formats() {
    for format in ["gnu", "posix", "ustar"] {
        let workspace = workspace(&format!("version: {V}, binaries: server.tar.gz"));
        let folder = format!("{0}/{0}/{0}", "d".repeat(60));
        for name in MASTER.into_iter().chain(NODE) {
            put(&workspace, &format!("packed/{folder}/{name}"), &program(name, V));
        }
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(workspace.path("packed")).arg(format!("--format={format}"));
        tar.arg("-czf").arg(workspace.path("server.tar.gz")).arg("d".repeat(60));
        assert!(tar.status().expect("tar runs").success());
        workspace.run(&["lock"]).done();
        assert_eq!(taken(&workspace).unwrap(), all(), "{format}");
    }
}

#[test]
fn a_wrong_archive_is_refused() {
    let kubelet = program("kubelet", V);
    let refused = |bytes: &[u8]| {
        let workspace = workspace(&format!("version: {V}, binaries: server.tar.gz"));
        put(&workspace, "server.tar.gz", bytes);
        let report = end(&workspace.run(&["lock"]).refused());
        assert_eq!(workspace.read("kiln.lock"), "");
        assert_eq!(workspace.files("escaped"), Vec::<std::path::PathBuf>::new());
        report.strip_prefix(&format!("error: pinning Kubernetes {V}\n")).unwrap().to_owned()
    };
    let reading = "(reading 'DIR/server.tar.gz')".replace("DIR/", "./");
    for (files, message, help) in [
        (
            vec![("../escaped/kubelet", &kubelet[..])],
            "'../escaped/kubelet' leads out of the archive",
            "take the archive that the Kubernetes project releases",
        ),
        (
            vec![("a/kubelet", &kubelet[..]), ("b/kubelet", &kubelet[..50])],
            "'a/kubelet' and 'b/kubelet' are different programs of one name",
            "take an archive that has each program once",
        ),
        (
            vec![("a/kubelet", &kubelet[..]), ("b/kubelet", &kubelet[..])],
            "it has no 'kube-apiserver'",
            "take the archive of the server programs, 'kubernetes-server-linux-amd64.tar.gz'",
        ),
    ] {
        let expected = format!("cause: {message} {reading}\nhelp:  {help}");
        assert_eq!(refused(&gzip(&tar(&files))), expected);
    }
    let whole = bundle(V);
    let cut = refused(&whole[..whole.len() / 2]);
    assert!(cut.starts_with("cause: "), "{cut}");
    assert!(cut.ends_with(&format!("{reading}\nhelp:  fetch the archive again")), "{cut}");
    let page = refused(&b"<!DOCTYPE html><title>Not Found</title>".repeat(100));
    assert!(page.starts_with("cause: it is no whole tar archive: "), "{page}");
}
