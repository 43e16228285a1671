// SPDX-License-Identifier: Apache-2.0
//! Container images that add-ons bring: an archive must hold what its add-on says, and what a
//! registry has comes as the lock pins it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{
    digest::Digest,
    error::refuse,
    fetch::{Fetcher, registry},
    formats::oci::{self, Listed, Reference},
    kubernetes::addons::Origin,
    lock::{Images, Lock},
    plan::Plan,
    profile::Pull,
    sys,
    tree::{Content, TreePath},
};

/// Images of registries, verified.
pub(super) type Pulled = BTreeMap<Reference, registry::Image>;

/// What the plans pull, each once although several roles may carry it.
fn pulls(plans: &[Plan]) -> Vec<&Pull> {
    let pulls: BTreeMap<&Reference, &Pull> = plans
        .iter()
        .flat_map(|plan| plan.profile.images.values())
        .map(|pull| (&pull.reference, pull))
        .collect();
    pulls.into_values().collect()
}

/// The images as their registries have them now, for the lock; `old` is the lock until now.
pub(super) fn pin(fetcher: &Fetcher, plans: &[Plan], old: Option<&Lock>) -> Result<Images> {
    fetcher.pin_images(&pulls(plans), old.map(|old| &old.images))
}

/// Whether a lock pins precisely the images that the plans pull.
pub(super) fn is_pinned(lock: &Lock, plans: &[Plan]) -> bool {
    let pulls: BTreeSet<_> = pulls(plans).into_iter().map(|pull| &pull.reference).collect();
    lock.images.keys().collect::<BTreeSet<_>>() == pulls
}

/// The images that the lock pins for the plans, from the cache or their registries.
pub(super) fn pull(fetcher: &Fetcher, plans: &[Plan], lock: &Lock) -> Result<Pulled> {
    fetcher.images(&pulls(plans), &lock.images)
}

/// The images of a role by the digests of their manifests.
pub(super) fn digests(plan: &Plan, lock: &Lock) -> BTreeMap<Reference, Digest> {
    let references = plan.profile.images.values().map(|pull| &pull.reference);
    references.filter_map(|it| Some((it.clone(), lock.images.get(it)?.manifest.sha256))).collect()
}

/// The archives of a role's images, by their path in the root.
pub(super) fn archives(plan: &Plan, pulled: &Pulled) -> BTreeMap<TreePath, Content> {
    let images = plan.profile.images.iter();
    let archive = |(path, pull): (&TreePath, &Pull)| {
        Some((path.clone(), pulled.get(&pull.reference)?.clone().into_archive()))
    };
    images.filter_map(archive).collect()
}

/// Kiln builds for no other.
const PLATFORM: &str = "linux/amd64";

/// Refuses archives that are not what was pinned, or lack an image that they are there for.
pub(super) fn check(workspace: &Path, plans: &[Plan]) -> Result<()> {
    let addons = plans.iter().flat_map(|plan| &plan.addons);
    let images = addons.flat_map(|addon| addon.images.iter().map(move |image| (image, addon)));
    // Each once, although several roles may carry it.
    for (image, addon) in images.collect::<BTreeMap<_, _>>() {
        let Origin::Archive { archive, sha256 } = &image.origin else { continue };
        check_archive(workspace, &image.name, archive, sha256)
            .with_context(|| format!("taking image '{}' of add-on '{}'", image.name, addon.name))?;
    }
    Ok(())
}

fn check_archive(workspace: &Path, name: &str, archive: &str, sha256: &Digest) -> Result<()> {
    let path = workspace.join(archive);
    if !sys::fs::exists(&path) {
        return Err(refuse(
            format!("there is no '{}'", path.display()),
            format!(
                "'skopeo copy docker://{name} docker-archive:{archive}:{name}' makes it; or take \
                 'pull: {name}'"
            ),
        ));
    }
    let content = sys::fs::pinned(&path, sha256)?;
    let found = oci::survey(&content).with_context(|| format!("reading '{}'", path.display()))?;
    let platforms: Vec<&str> =
        found.iter().filter(|it| it.name == name).map(|it| &*it.platform).collect();
    match platforms.as_slice() {
        [] => Err(refuse(
            format!("'{}' does not hold it, but {}", path.display(), names(&found)),
            "correct 'name' in addon.yaml, or save the image under that name",
        )),
        platforms if platforms.contains(&PLATFORM) => Ok(()),
        [other, ..] => Err(refuse(
            format!("'{}' has it for {other}, expected {PLATFORM}", path.display()),
            format!("save it for {PLATFORM}"),
        )),
    }
}

fn names(found: &[Listed]) -> String {
    let shown = |listed: &Listed| match &*listed.name {
        "" => "an image without a name".to_owned(),
        name => format!("'{}'", name.escape_default()),
    };
    let names: Vec<String> = found.iter().map(shown).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::oci::Program;

    /// What is said of an image `kiln.test/a:1` in this archive.
    fn said(bytes: &[u8], name: &str, pin: Digest) -> String {
        let folder = tempfile::tempdir().unwrap();
        sys::fs::write_atomic(&folder.path().join("a.tar"), bytes).unwrap();
        match check_archive(folder.path(), name, "a.tar", &pin) {
            Ok(()) => String::new(),
            Err(error) => format!("{error:#}").replace(&folder.path().display().to_string(), "DIR"),
        }
    }

    #[test]
    fn an_archive_holds_what_its_add_on_says_or_is_refused() {
        let program = Program {
            path: TreePath::literal("/a"),
            content: Content::bytes(*b"a"),
            certificates: None,
            user: (1, 1),
            epoch: 0,
        };
        let image = program.image("kiln.test/a:1".parse().unwrap()).unwrap();
        let bytes = oci::archive(&[image]).unwrap().to_vec().unwrap();
        let pin = Digest::of(&bytes);
        assert_eq!(said(&bytes, "kiln.test/a:1", pin), "");
        assert_eq!(
            said(&bytes, "kiln.test/b:1", pin),
            "'DIR/a.tar' does not hold it, but 'kiln.test/a:1'"
        );
        let other = Digest::of(b"");
        let expected = format!("reading 'DIR/a.tar': expected SHA-256 {other}, found {pin}");
        assert_eq!(said(&bytes, "kiln.test/a:1", other), expected);
        let cut = &bytes[..bytes.len() / 2];
        assert!(said(cut, "kiln.test/a:1", Digest::of(cut)).contains("reading 'DIR/a.tar': "));
        let missing = check_archive(Path::new("/nowhere"), "a.b/c:1", "none.tar", &pin);
        let error = format!("{:#}", missing.unwrap_err());
        assert_eq!(error, "there is no '/nowhere/none.tar'");
    }
}
