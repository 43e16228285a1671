// SPDX-License-Identifier: Apache-2.0
//! Bytes only: each format of the image, from its specification.
//!
//! Nothing here knows Debian, Kubernetes, profiles or host paths.
// Hostile bytes reach this code: no index, no cast that can lose something.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation, clippy::indexing_slicing))]

pub mod squashfs;
pub mod verity;
