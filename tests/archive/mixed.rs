// SPDX-License-Identifier: Apache-2.0
//! `debian.from`: some packages from another suite, locked, repaired, and refused.

use crate::support::{
    archive::{Deb, Suite},
    workspace::Workspace,
};

/// `runc` of the next suite needs a newer libc6 than the base has, and nothing else of it.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    from(&workspace, "{ runc: forky }");
    publish(&workspace, "trixie", &base());
    publish(&workspace, "forky", &next());
    for suite in ["trixie-security", "forky-security"] {
        Suite::new("debian-security", suite, &[]).publish(&workspace.server, &workspace.key);
    }
    workspace
}

/// Lets the role `node` take packages from other suites.
fn from(workspace: &Workspace, from: &str) {
    let text = format!(
        "packages: [runc, tool]\nkernel: {{ package: linux }}\n\
         debian: {{ updates: false, from: {from} }}\n"
    );
    workspace.write("profiles/node.yaml", &text);
}

fn base() -> [Deb; 5] {
    [
        Deb::new("haproxy", "3.0.11-1", "Depends: libc6\n"),
        Deb::new("libc6", "2.41-12", ""),
        Deb::new("linux", "6.12.48-1", ""),
        Deb::new("runc", "1.1.15-2", "Depends: libc6\n"),
        Deb::new("tool", "1-1", "Depends: libc6\n"),
    ]
}

fn next() -> [Deb; 4] {
    [
        Deb::new("libc6", "2.42-4", ""),
        Deb::new("linux", "6.17.8-1", ""),
        Deb::new("runc", "1.3.3-1", "Depends: libc6 (>= 2.42)\n"),
        Deb::new("tool", "2-1", "Depends: libc6\n"),
    ]
}

fn publish(workspace: &Workspace, suite: &str, debs: &[Deb]) {
    Suite::new("debian", suite, debs).publish(&workspace.server, &workspace.key);
}

#[test]
fn a_package_of_another_suite_brings_only_what_it_needs_and_to_its_role_alone() {
    let workspace = workspace();
    assert_eq!(
        workspace.run(&["lock"]).done(),
        "haproxy 3.0.11-1 (added)\nlibc6 2.41-12, 2.42-4 (added)\nlinux 6.12.48-1 (added)\n\
         runc 1.3.3-1 (added)\ntool 1-1 (added)\n"
    );
    let lock = workspace.read("kiln.lock");
    for part in [
        "\n    \"debian forky main\",\n",
        "\n[roles.node.from]\nrunc = \"forky\"\n",
        "version = \"2.42-4\"\narchive = \"debian\"\npath = \"pool/main/libc6/libc6_2.42-4_amd64.deb\"",
    ] {
        assert!(lock.contains(part), "{part}\n{lock}");
    }
    workspace.run(&["lock", "--check"]).done();
    workspace.run(&["fetch"]).done();
    assert_eq!(workspace.run(&["lock"]).done(), "");
    assert_eq!(
        workspace.run(&["plan", "node"]).done().lines().nth(3),
        Some("  from          runc forky")
    );

    // Another suite of the same packages is another request.
    from(&workspace, "{ runc: sid }");
    let report = workspace.run(&["lock", "--check"]).refused();
    assert!(
        report.contains("origin 'runc from sid' was added, origin 'runc from forky' was removed")
    );
}

#[test]
fn repair_keeps_what_came_from_another_suite() {
    let workspace = workspace();
    workspace.run(&["lock"]).done();
    // The base's tool has left; newer packages are everywhere.
    let mut base = base();
    let gone = format!("debian/{}", base[4].path());
    base[4] = Deb::new("tool", "1-2", "Depends: libc6\n");
    base[1] = Deb::new("libc6", "2.41-13", "");
    let mut next = next();
    next[0] = Deb::new("libc6", "2.42-5", "");
    next[2] = Deb::new("runc", "1.3.4-1", "Depends: libc6 (>= 2.42)\n");
    publish(&workspace, "trixie", &base);
    publish(&workspace, "forky", &next);
    workspace.server.remove(&gone);
    assert_eq!(workspace.run(&["lock", "--repair"]).done(), "tool 1-1 -> 1-2\n");
    workspace.run(&["lock", "--check"]).done();
    assert_eq!(
        workspace.run(&["lock"]).done(),
        "libc6 2.41-12, 2.42-4 -> 2.41-13, 2.42-5\nrunc 1.3.3-1 -> 1.3.4-1\n"
    );
}

#[test]
fn a_package_that_the_other_suite_does_not_have_is_refused() {
    let workspace = workspace();
    from(&workspace, "{ haproxy: forky }");
    let report = workspace.run(&["lock"]).refused();
    assert!(
        report.ends_with(
            "error: choosing packages\n\
             cause: 'debian.from' (suite 'forky') names package 'haproxy', which no archive has"
        ),
        "{report}"
    );
    from(&workspace, "{ runc: trixie }");
    let run = workspace.run(&["check"]);
    assert_eq!(run.status, Some(2));
    assert!(
        run.stderr.starts_with("error: 'trixie' is used for every package already\n"),
        "{}",
        run.stderr
    );
}
