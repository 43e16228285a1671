// SPDX-License-Identifier: Apache-2.0
//! Archives of container images that add-ons bring: each must hold what its add-on says.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    error::refuse,
    formats::oci::{self, Listed},
    kubernetes::addons::Image,
    plan::Plan,
    sys,
};

/// Kiln builds for no other.
const PLATFORM: &str = "linux/amd64";

/// Refuses archives that are not what was pinned, or lack an image that they are there for.
pub(super) fn check(workspace: &Path, plans: &[Plan]) -> Result<()> {
    let addons = plans.iter().flat_map(|plan| &plan.addons);
    let images = addons.flat_map(|addon| addon.images.iter().map(move |image| (image, addon)));
    // Each once, although several roles may carry it.
    for (image, addon) in images.collect::<BTreeMap<_, _>>() {
        check_image(workspace, image)
            .with_context(|| format!("taking image '{}' of add-on '{}'", image.name, addon.name))?;
    }
    Ok(())
}

fn check_image(workspace: &Path, image: &Image) -> Result<()> {
    let (name, archive) = (&image.name, &image.archive);
    let path = workspace.join(archive);
    if !sys::fs::exists(&path) {
        return Err(refuse(
            format!("there is no '{}'", path.display()),
            format!("'skopeo copy docker://{name} docker-archive:{archive}:{name}' makes it"),
        ));
    }
    let content = sys::fs::pinned(&path, &image.sha256)?;
    let found = oci::survey(&content).with_context(|| format!("reading '{}'", path.display()))?;
    let platforms: Vec<&str> =
        found.iter().filter(|it| it.name == *name).map(|it| &*it.platform).collect();
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
    use crate::{
        digest::Digest,
        formats::oci::Program,
        tree::{Content, TreePath},
    };

    /// What is said of an image `kiln.test/a:1` in this archive.
    fn said(bytes: &[u8], name: &str, pin: Digest) -> String {
        let folder = tempfile::tempdir().unwrap();
        sys::fs::write_atomic(&folder.path().join("a.tar"), bytes).unwrap();
        let archive = "a.tar".to_owned();
        let image = Image { name: name.to_owned(), archive, sha256: pin };
        match check_image(folder.path(), &image) {
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
        let missing = Image { name: "a.b/c:1".into(), archive: "none.tar".into(), sha256: pin };
        let error = format!("{:#}", check_image(Path::new("/nowhere"), &missing).unwrap_err());
        assert_eq!(error, "there is no '/nowhere/none.tar'");
    }
}
