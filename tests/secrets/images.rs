// SPDX-License-Identifier: Apache-2.0
//! The quickstart's images and the trial's, which has an ssh server: they hold no secret at all.

use std::collections::{BTreeMap, BTreeSet};

use kiln::pki::Material;

use super::{image::Image, needles::Needles};
use crate::support::qemu::{alone, out_dir};

#[test]
fn images_without_kubernetes_hold_no_private_key_of_anybody() {
    let _alone = alone();
    let needles = Needles::of(&Material::default());
    for role in ["host", "lb", "master", "node"] {
        let image = Image::open(&out_dir().join(role), "make images trial");
        assert_eq!(image.listed(), BTreeSet::new(), "{role}");
        assert_eq!(image.in_root(&needles), BTreeMap::new(), "{role}");
        assert_eq!(image.outside(&needles), BTreeSet::new(), "{role}");
    }
}
