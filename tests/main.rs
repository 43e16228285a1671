// SPDX-License-Identifier: Apache-2.0
//! The integration tests, by subject.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests touch the world, and stop where they fail"
)]

mod support;

mod addons;
mod archive;
mod balancer;
mod bios;
mod boot;
mod changes;
mod cluster;
mod config;
mod containers;
mod debian;
mod delivery;
mod disk;
mod first_boot;
mod flash;
mod formats;
mod hardware_boot;
mod images;
mod kubernetes;
mod modules;
mod pause;
mod pki;
mod power_cut;
mod preview;
mod publish;
mod registry;
mod rootfs;
mod secrets;
mod serve;
mod squashfs;
mod tidy;
mod traps;
mod trial_boot;
mod warnings;
