// SPDX-License-Identifier: Apache-2.0
//! The images of machines alone and the trial's, which has an ssh server: they hold no secret at all.

use std::collections::{BTreeMap, BTreeSet};

use kiln::pki::Material;

use super::{image::Image, needles::Needles};
use crate::support::qemu::{out_dir, repository};

#[test]
fn images_without_kubernetes_hold_no_private_key_of_anybody() {
    let needles = Needles::of(&Material::default());
    let alone = ["lb", "master", "node"].map(|role| (role, out_dir().join(role)));
    let trial = ("host", repository().join("out/trial/host"));
    for (role, folder) in alone.into_iter().chain([trial]) {
        let image = Image::open(&folder, "make machines");
        assert_eq!(image.listed(), BTreeSet::new(), "{role}");
        assert_eq!(image.in_root(&needles), BTreeMap::new(), "{role}");
        assert_eq!(image.outside(&needles), BTreeSet::new(), "{role}");
    }
}
