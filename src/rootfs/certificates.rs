// SPDX-License-Identifier: Apache-2.0
//! The bundle of certificate authorities, as update-ca-certificates makes it.

use super::{
    Error,
    draft::{Draft, bytes_of},
};
use crate::tree::{Kind, TreePath};

/// Certificates of packages, and those that overlays add.
const FOLDERS: [&str; 2] = ["/usr/share/ca-certificates", "/usr/local/share/ca-certificates"];
/// The file that every TLS library of Debian reads.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Writes the bundle and returns how many certificates it holds. Without certificates there
/// is no bundle.
pub(super) fn write(draft: &mut Draft<'_>) -> Result<usize, Error> {
    let mut bundle = Vec::new();
    let mut count = 0;
    for folder in FOLDERS.map(TreePath::literal) {
        for (path, inode) in draft.tree.subtree(&folder) {
            let Kind::File(content) = &inode.kind else { continue };
            if path.as_str().ends_with(".crt") {
                bundle.extend(bytes_of(path, inode, content)?);
                if bundle.last() != Some(&b'\n') {
                    bundle.push(b'\n');
                }
                count += 1;
            }
        }
    }
    if count > 0 {
        draft.write(BUNDLE, bundle, "certificates")?;
    }
    Ok(count)
}
