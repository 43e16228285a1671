// SPDX-License-Identifier: Apache-2.0
//! Kiln builds immutable node OS images: one bootable disk per role of a cluster.
//!
//! ```text
//! cluster.yaml profiles/ overlays/                                people
//!    -> Profile -> Plan            everything decided, nothing fetched
//!    -> Lock                       every input by path, size, SHA-256      (network)
//!    -> fetched packages           values that only hashing can make       (network or cache)
//!    -> Tree                       the root file system as a value
//!    -> squashfs -> verity         root hash
//!    -> Uki                        stub + kernel + initrd + command line with the root hash
//!    -> disk layout -> disk image -> outputs, manifest, SHA256SUMS
//! ```
//!
//! The modules, in reading order: [`cmd`]`::build` is the recipe and reads as that list. Pure
//! stages use no file, clock, environment, process or randomness; the I/O ring is [`sys`],
//! [`fetch`], [`store`], [`cmd`], [`flash`], [`publish`], [`serve`], and [`disk`]`::write` and `::forms`. `.clippy.toml`
//! holds that border.

pub mod cli;
pub mod cmd;

pub mod cluster;
pub mod profile;
pub mod template;
pub mod workspace;
pub mod yaml;

pub mod plan;

pub mod pki;

pub mod debian;
pub mod kubernetes;
pub mod lock;

pub mod fetch;
pub mod store;

pub mod rootfs;
pub mod tree;

pub mod boot;
pub mod disk;
pub mod formats;

pub mod flash;
pub mod outputs;
pub mod preview;
pub mod publish;
pub mod qemu;
pub mod seed;
pub mod serve;

pub mod checksum;
pub mod diagnostic;
pub mod digest;
pub mod error;
pub mod names;
pub mod progress;
pub mod sys;
pub mod systemd;
pub mod units;

/// The program kiln-init, which every image carries.
pub static KILN_INIT: &[u8] = include_bytes!(env!("KILN_INIT_PROGRAM"));
