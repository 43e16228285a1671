// SPDX-License-Identifier: Apache-2.0
//! What several subjects share: a fresh folder, the kiln program, foreign tools.

pub(crate) mod archive;
pub(crate) mod balancer;
pub(crate) mod cluster;
pub(crate) mod debian_apt;
pub(crate) mod disk_images;
pub(crate) mod disk_tools;
pub(crate) mod files;
pub(crate) mod guest;
pub(crate) mod media;
pub(crate) mod oci;
pub(crate) mod qemu;
pub(crate) mod registry;
pub(crate) mod release;
pub(crate) mod root;
pub(crate) mod secrets;
pub(crate) mod switch;
pub(crate) mod tree;
pub(crate) mod workspace;
