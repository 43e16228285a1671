// SPDX-License-Identifier: Apache-2.0
//! Everything people wrote, as a value: the cluster file, the profiles and the overlays.
//!
//! The I/O ring reads it (`sys::workspace`), so checking and planning need no file system. What
//! depends on the machine that holds the files (owner, umask, time) is gone: of a file's mode
//! only the executable bit is left.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use crate::{diagnostic::Source, digest::Digest, tree::Content};

/// The people's files.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// `cluster.yaml`.
    pub cluster: Arc<Source>,
    /// `profiles/NAME.yaml`, by name.
    pub profiles: BTreeMap<String, Arc<Source>>,
    /// `overlays/NAME/`, by name.
    pub overlays: BTreeMap<String, Overlay>,
    /// `addons/NAME/`, by name: trees of manifests, which have the form of overlays.
    pub addons: BTreeMap<String, Overlay>,
}

impl Workspace {
    /// A profile's overlays in the order in which they are laid over the root.
    pub fn overlays_of(&self, profile: &crate::profile::Profile) -> Vec<&Overlay> {
        profile.overlays.iter().filter_map(|name| self.overlays.get(name)).collect()
    }
}

/// One folder of `overlays/`.
#[derive(Debug, Clone, Serialize)]
pub struct Overlay {
    pub name: String,
    /// By path relative to the overlay: `etc/issue`. Parents come before what they hold.
    pub files: BTreeMap<String, OverlayFile>,
}

/// A node of an overlay.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverlayFile {
    File {
        #[serde(skip)]
        content: Content,
        /// Of the content.
        digest: Digest,
        executable: bool,
    },
    Symlink(String),
    Directory,
}

impl OverlayFile {
    /// A regular file from its bytes.
    pub fn file(bytes: impl Into<Arc<[u8]>>, executable: bool) -> Self {
        let bytes = bytes.into();
        Self::File { digest: Digest::of(&bytes), content: Content::bytes(bytes), executable }
    }
}
