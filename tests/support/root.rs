// SPDX-License-Identifier: Apache-2.0
//! A role's root from literals: the smallest workspace and packages that `rootfs` accepts.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use kiln::{
    debian::deb::{Entry, Kind as EntryKind},
    diagnostic::Source,
    digest::Digest,
    pki::delivery::NodeFile,
    plan::{self, Given, Plan},
    rootfs::{self, Inputs, Package, Root},
    tree::{Content, Kind, Meta, Tree, TreePath},
    workspace::{Overlay, OverlayFile, Workspace},
};

/// Time of everything; packages are younger.
pub(crate) const EPOCH: u32 = 1_700_000_000;

const CLUSTER: &str = "\
schema: 1
name: quickstart
version: '7'
endpoint: { vip: 192.168.31.100, port: 6443, names: [k8s.quickstart.internal] }
networks: { hosts: 192.168.31.0/24, pods: 10.244.0.0/16, services: 10.0.0.0/24, dns: 10.0.0.2 }
etcd: { members: [one] }
hosts:
  one: { role: lb, address: 192.168.31.24, vars: { priority: 1 } }
";

const PROFILE: &str = "\
packages: [base-files]
kernel: { package: linux-image }
services: { enable: [], mask: [], ready: [] }
";

/// A workspace of one role, `lb`, and packages.
pub(crate) struct Fixture {
    cluster: String,
    profile: String,
    overlays: BTreeMap<String, Overlay>,
    pub(crate) packages: Vec<Package>,
}

impl Fixture {
    /// What every image needs, in the packages that bring it.
    pub(crate) fn new() -> Self {
        let unit = "[Unit]\nDescription=x\n";
        let packages = vec![
            package("base-files")
                .symlink("bin", "usr/bin")
                .symlink("lib", "usr/lib")
                .symlink("sbin", "usr/sbin")
                .directory("proc", 0o755)
                .directory("tmp", 0o1777)
                .symlink("etc/os-release", "../usr/lib/os-release")
                .file("usr/lib/os-release", "ID=debian\n"),
            package("systemd")
                .file("usr/lib/systemd/system/multi-user.target", unit)
                .file("usr/lib/systemd/system/systemd-repart.service", unit)
                .file(
                    "usr/lib/sysusers.d/basic.conf",
                    "g shadow 42\ng adm 4\nu root 0 - /root /bin/bash\n",
                ),
            package("systemd-boot-efi")
                .file("usr/lib/systemd/boot/efi/linuxx64.efi.stub", "stub")
                .file("usr/lib/systemd/boot/efi/systemd-bootx64.efi", "loader"),
            package("e2fsprogs").file("usr/sbin/mkfs.ext4", "mkfs"),
            package("linux-image")
                .file("boot/vmlinuz-6.12.1", "kernel")
                .file("boot/config-6.12.1", "CONFIG_X=y\n"),
        ];
        Self {
            cluster: CLUSTER.to_owned(),
            profile: PROFILE.to_owned(),
            overlays: BTreeMap::new(),
            packages: packages.into_iter().map(PackageFiles::done).collect(),
        }
    }

    /// etcd, whose unit the masters of a cluster enable.
    pub(crate) fn with_etcd(self) -> Self {
        let unit = "[Service]\nExecStart=/usr/bin/etcd\n[Install]\nWantedBy=multi-user.target\n";
        let etcd = package("etcd-server");
        self.package(etcd.file("usr/lib/systemd/system/etcd.service", unit))
    }

    pub(crate) fn package(mut self, package: PackageFiles) -> Self {
        self.packages.push(package.done());
        self
    }

    /// The cluster file with something else in one place.
    pub(crate) fn cluster(mut self, from: &str, to: &str) -> Self {
        assert_eq!(self.cluster.matches(from).count(), 1, "'{from}' stands once");
        self.cluster = self.cluster.replace(from, to);
        self
    }

    /// The profile's text, instead of the smallest.
    pub(crate) fn profile(mut self, text: &str) -> Self {
        let own = ["packages", "services", "kernel"];
        let head = PROFILE.lines().filter(|line| {
            let key = line.split(':').next().unwrap_or_default();
            !own.contains(&key) || !text.lines().any(|line| line.starts_with(&format!("{key}:")))
        });
        self.profile = head.map(|line| format!("{line}\n")).collect::<String>() + text;
        self
    }

    /// A file of an overlay; the profile has to name the overlay.
    pub(crate) fn overlay(mut self, name: &str, path: &str, text: &str) -> Self {
        let overlay = self
            .overlays
            .entry(name.to_owned())
            .or_insert_with(|| Overlay { name: name.to_owned(), files: BTreeMap::new() });
        let file = OverlayFile::file(text.as_bytes().to_vec(), path.ends_with(".sh"));
        overlay.files.insert(path.to_owned(), file);
        self
    }

    /// The plan of the role.
    pub(crate) fn plan(&self) -> (Plan, Workspace) {
        let workspace = Workspace {
            cluster: Source::new("cluster.yaml", &*self.cluster),
            profiles: BTreeMap::from([(
                "lb".to_owned(),
                Source::new("profiles/lb.yaml", &*self.profile),
            )]),
            overlays: self.overlays.clone(),
            addons: Default::default(),
        };
        let given = Given { epoch: EPOCH, init: Digest::of(b"init") };
        let mut plans =
            plan::plan(&workspace, &[], given).unwrap_or_else(|error| panic!("{error}"));
        (plans.pop().expect("one role"), workspace)
    }

    pub(crate) fn assemble(&self) -> Result<Root, rootfs::Error> {
        let (plan, workspace) = self.plan();
        self.assemble_as(&plan, &workspace, &[])
    }

    /// The packages as another role, with its certificates and keys.
    pub(crate) fn assemble_as(
        &self,
        plan: &Plan,
        workspace: &Workspace,
        secrets: &[NodeFile],
    ) -> Result<Root, rootfs::Error> {
        rootfs::assemble(&Inputs {
            plan,
            packages: &self.packages,
            overlays: &workspace.overlays_of(&plan.profile),
            init: Content::bytes(*b"init"),
            binaries: &BTreeMap::new(),
            images: &BTreeMap::new(),
            programs: &[],
            secrets,
        })
    }

    /// The root; it must be possible.
    pub(crate) fn root(&self) -> Root {
        self.assemble().unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// The complaint, with its causes; there must be one.
    pub(crate) fn refusal(&self) -> String {
        chain(&self.assemble().expect_err("a root that is refused"))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// A package on its way.
pub(crate) struct PackageFiles(Package);

pub(crate) fn package(name: &str) -> PackageFiles {
    PackageFiles(Package {
        name: Arc::from(name),
        version: "1".to_owned(),
        entries: Vec::new(),
        replaces: Default::default(),
        modules: None,
    })
}

impl PackageFiles {
    pub(crate) fn file(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.entry(path, 0o644, EntryKind::File(Content::bytes(bytes.as_ref())))
    }

    pub(crate) fn directory(self, path: &str, mode: u16) -> Self {
        self.entry(path, mode, EntryKind::Directory)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, 0o777, EntryKind::Symlink(target.to_owned()))
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(path, 0o644, EntryKind::HardLink(TreePath::new(target).expect("a path")))
    }

    pub(crate) fn replaces(mut self, name: &str) -> Self {
        self.0.replaces.insert(name.to_owned());
        self
    }

    /// Changes the mode and the group of the entry that was added last.
    pub(crate) fn with(mut self, mode: u16, gid: u32, group: &str) -> Self {
        let entry = self.0.entries.last_mut().expect("an entry");
        entry.meta.mode = mode;
        entry.meta.gid = gid;
        entry.group_name = group.to_owned();
        self
    }

    fn entry(mut self, path: &str, mode: u16, kind: EntryKind) -> Self {
        self.0.entries.push(Entry {
            path: TreePath::new(path).expect("a path"),
            meta: Meta::new(mode, EPOCH + 1),
            kind,
            owner_name: "root".to_owned(),
            group_name: "root".to_owned(),
        });
        self
    }

    pub(crate) fn done(self) -> Package {
        self.0
    }
}

/// The text of a file of a tree.
pub(crate) fn text(tree: &Tree, path: &str) -> String {
    let path = TreePath::new(path).expect("a path");
    let inode = tree.get(&path).unwrap_or_else(|| panic!("{path} is missing"));
    let Kind::File(content) = &inode.kind else { panic!("{path} is a {}", inode.kind.noun()) };
    String::from_utf8(content.to_vec().expect("bytes")).expect("UTF-8")
}

/// One line for every entry: mode, owner, path, target, origin.
pub(crate) fn dump(tree: &Tree) -> String {
    let mut lines = String::new();
    for (path, _, inode) in tree.iter() {
        let Meta { uid, gid, mode, mtime, .. } = &inode.meta;
        let what = match &inode.kind {
            Kind::Directory => "/".to_owned(),
            Kind::Symlink(target) => format!(" -> {target}"),
            Kind::File(content) => {
                format!(" {}", Digest::of(&content.to_vec().expect("bytes")).short())
            }
            other => format!(" {}", other.noun()),
        };
        assert!(*mtime <= EPOCH, "{path} is younger than the build");
        lines += &format!("{mode:04o} {uid}:{gid} {path}{what} [{}]\n", inode.origin);
    }
    lines
}

/// Writes a subtree into a folder of the host, without owners.
pub(crate) fn write_out(tree: &Tree, below: &str, folder: &Path) {
    let below = TreePath::new(below).expect("a path");
    for (path, inode) in tree.subtree(&below) {
        let place = folder.join(path.relative());
        std::fs::create_dir_all(place.parent().expect("a parent")).expect("a folder");
        match &inode.kind {
            Kind::Directory => std::fs::create_dir_all(&place).expect("a folder"),
            Kind::File(content) => {
                std::fs::write(&place, content.to_vec().expect("bytes")).expect("a file");
            }
            Kind::Symlink(target) => {
                std::os::unix::fs::symlink(target, &place).expect("a symlink");
            }
            other => panic!("{path} is a {}", other.noun()),
        }
    }
}
