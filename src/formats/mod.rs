// SPDX-License-Identifier: Apache-2.0
//! Bytes only: each format of the image, from its specification.
//!
//! Nothing here knows Debian, Kubernetes, profiles or host paths.
pub mod bmap;
mod calendar;
pub mod chain;
pub mod cpio;
pub mod fat;
pub mod gpt;
pub mod grub;
pub mod iso;
pub mod oci;
pub mod ova;
pub mod pe;
pub mod qcow2;
pub mod sparse;
// Hostile bytes reach these readers: no index, no cast that can lose something.
#[cfg_attr(not(test), warn(clippy::cast_possible_truncation, clippy::indexing_slicing))]
pub mod squashfs;
pub mod tar;
#[cfg_attr(not(test), warn(clippy::cast_possible_truncation, clippy::indexing_slicing))]
pub mod verity;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;
pub mod volume;
pub mod zst;
