// SPDX-License-Identifier: Apache-2.0
//! First boot, as a library: everything that decides what a node becomes.
//!
//! PID 1 of the initramfs (`main.rs`) and the builder share this code, so a template that the
//! build test-rendered is rendered by the same engine on the node.

pub mod disk_rule;
pub mod first_boot;
pub mod gpt;
pub mod gzip;
pub mod handoff;
pub mod identity;
pub mod metadata;
pub mod modules;
pub mod network;
pub mod remote;
pub mod rpc;
pub mod smbios;
pub mod source;
pub mod template;
pub mod uevent;
pub mod verity;
pub mod volume;
pub mod xml;
pub mod yaml;

pub mod base64;
pub mod csr;

#[cfg(test)]
mod loopback;
