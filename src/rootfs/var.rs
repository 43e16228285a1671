// SPDX-License-Identifier: Apache-2.0
//! `/var` lives on its own partition, which is made at first boot: here it becomes a recipe.
//!
//! What packages and overlays put under `/var` becomes lines of tmpfiles.d(5): directories with
//! owner and mode, files as copies from `/usr/share/factory`. In the image stays a skeleton, for
//! the time before the partition is mounted. systemd-repart(8) makes the partition, and its
//! fixed UUID is what fstab and kiln-init know it by.

use std::collections::BTreeSet;

use kiln_contract::{partition::VAR_LABEL, path::VAR_ELSEWHERE};

use super::{Error, draft::Draft};
use crate::{
    digest::Digest,
    plan::Plan,
    systemd::Unit,
    tree::{Inode, Kind, TreePath},
};

const STAGE: &str = "var";
/// Directories of `/var` that must exist before it is mounted, with their modes.
const SKELETON: [(&str, u16); 5] = [
    ("/var/cache", 0o755),
    ("/var/lib", 0o755),
    ("/var/log", 0o755),
    ("/var/spool", 0o755),
    ("/var/tmp", 0o1777),
];
/// Mount points and top directories that packages do not bring.
const MOUNT_POINTS: [&str; 8] =
    ["/boot", "/efi", "/home", "/media", "/mnt", "/opt", "/srv", "/var"];
/// Where tmpfiles.d finds the originals of the files that it copies.
const FACTORY: &str = "/usr/share/factory";
/// Types of tmpfiles.d lines that make what they name.
const MAKERS: [char; 12] = ['d', 'D', 'q', 'Q', 'v', 'f', 'F', 'C', 'L', 'p', 'c', 'b'];
/// A machine whose `/var` is elsewhere leaves the root's disk alone; kiln-init writes another fstab.
const REPART_DROP_IN: &str = "/usr/lib/systemd/system/systemd-repart.service.d/10-kiln-var.conf";
/// Smallest partition that is made: less is no use to any role.
const SMALLEST: &str = "256M";

/// UUID of the state partition: the same for all images of a role, so that an update finds it.
pub(super) fn partition(plan: &Plan) -> String {
    let name = format!("{}/{}", plan.cluster.name, plan.profile.role);
    Digest::of(name.as_bytes()).uuid(VAR_LABEL).to_string()
}

/// Replaces the content of `/var` by a recipe and says how its partition comes to be.
pub(super) fn replace(draft: &mut Draft<'_>) -> Result<(), Error> {
    if !draft.has("/usr/lib/systemd/system/systemd-repart.service") {
        return Err(Error::Missing { what: "systemd-repart", package: "systemd-repart" });
    }
    if !draft.has("/usr/sbin/mkfs.ext4") {
        return Err(Error::Missing { what: "mkfs.ext4", package: "e2fsprogs" });
    }
    let declared = declared(draft)?;
    let recipe = empty(draft, &declared)?;
    draft.write("/usr/lib/tmpfiles.d/kiln-var.conf", recipe, STAGE)?;
    for path in MOUNT_POINTS {
        draft.directory(path, 0o755, STAGE)?;
    }
    for (path, mode) in SKELETON {
        draft.directory(path, mode, STAGE)?;
    }
    draft.link("/var/run", "../run", STAGE)?;
    draft.link("/var/lock", "../run/lock", STAGE)?;
    let uuid = partition(draft.plan);
    draft.write("/usr/lib/repart.d/50-var.conf", repart(&uuid), STAGE)?;
    let unless = format!("!{VAR_ELSEWHERE}");
    let drop_in = Unit::begin("Unit").set("ConditionPathExists", &unless).text();
    draft.write(REPART_DROP_IN, drop_in, STAGE)?;
    draft.write("/etc/fstab", fstab(&uuid), STAGE)
}

/// Paths that `tmpfiles.d` files of packages and overlays make themselves: a second line for them
/// would be a warning at every boot.
fn declared(draft: &Draft<'_>) -> Result<BTreeSet<String>, Error> {
    let mut paths = BTreeSet::new();
    for folder in ["/usr/lib/tmpfiles.d", "/etc/tmpfiles.d"].map(TreePath::literal) {
        for (path, _) in draft.tree.children(&folder) {
            let text = draft.text(path.as_str())?.unwrap_or_default();
            for line in text.lines() {
                let mut words = line.split_whitespace();
                let makes = words.next().is_some_and(|kind| kind.starts_with(MAKERS));
                paths.extend(words.next().filter(|_| makes).map(str::to_owned));
            }
        }
    }
    Ok(paths)
}

/// Takes everything out of `/var` and returns the tmpfiles.d lines that bring it back.
fn empty(draft: &mut Draft<'_>, declared: &BTreeSet<String>) -> Result<String, Error> {
    let var = TreePath::literal("/var");
    let entries: Vec<(TreePath, Inode)> = draft
        .tree
        .subtree(&var)
        .filter(|(path, _)| !matches!(path.as_str(), "/var" | "/var/run" | "/var/lock"))
        .map(|(path, inode)| (path.clone(), inode.clone()))
        .collect();
    draft.tree.remove(&var);
    let mut lines = String::from("# What packages and overlays have in /var.\n");
    for (path, inode) in entries {
        if declared.contains(path.as_str()) {
            continue;
        }
        let place = quoted(path.as_str());
        let meta = &inode.meta;
        let attributes = format!("{:04o} {} {}", meta.mode, meta.uid, meta.gid);
        lines += &match &inode.kind {
            Kind::Directory => format!("d {place} {attributes} -\n"),
            Kind::Symlink(target) => format!("L {place} - - - - {}\n", quoted(target)),
            Kind::File(_) => {
                let original = format!("{FACTORY}{path}");
                draft.put_inode(&original, inode, STAGE)?;
                format!("C {place} {attributes} - {}\n", quoted(&original))
            }
            Kind::Fifo => format!("p {place} {attributes} -\n"),
            Kind::CharDevice { major, minor } => {
                format!("c {place} {attributes} - {major}:{minor}\n")
            }
            Kind::BlockDevice { major, minor } => {
                format!("b {place} {attributes} - {major}:{minor}\n")
            }
            // The program that owns a socket makes it.
            Kind::Socket => continue,
        };
    }
    Ok(lines)
}

/// A word for tmpfiles.d: specifiers are escaped, and quotes hold blanks.
fn quoted(word: &str) -> String {
    let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    if word.contains([' ', '"', '\'', '\\']) { format!("\"{word}\"") } else { word }
}

/// The partition takes what is left of the disk, also after the disk grew.
fn repart(uuid: &str) -> String {
    format!(
        "[Partition]\n\
         Type=linux-generic\n\
         Label={VAR_LABEL}\n\
         UUID={uuid}\n\
         Format=ext4\n\
         SizeMinBytes={SMALLEST}\n"
    )
}

/// The time is generous: under load the device of a new partition takes long to appear.
fn fstab(uuid: &str) -> String {
    format!(
        "# Everything else is read-only or in memory.\n\
         PARTUUID={uuid} /var ext4 \
         nosuid,nodev,noatime,x-systemd.growfs,x-systemd.device-timeout=600s 0 2\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_tmpfiles_are_quoted_and_escaped() {
        assert_eq!(quoted("/var/lib/x"), "/var/lib/x");
        assert_eq!(quoted("/var/a b%"), "\"/var/a b%%\"");
        assert_eq!(quoted("/var/a\"b"), "\"/var/a\\\"b\"");
    }
}
