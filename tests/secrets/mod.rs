// SPDX-License-Identifier: Apache-2.0
//! Where the secrets of a cluster are, and that they are nowhere else.
//!
//! A test knows the keys of the workspace's `pki/` and looks for them, in every form that a program
//! could have given them, in all that Kiln writes. `images::` looks into images without Kubernetes and
//! `cluster::` into those of clusters; their names are what the Makefile chooses tests by.

mod bench;
mod cluster;
mod image;
mod images;
mod needles;
mod plans;
mod seeds;
