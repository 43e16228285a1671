// SPDX-License-Identifier: Apache-2.0
//! First boot, as a library: everything that decides what a node becomes.
//!
//! PID 1 of the initramfs (`main.rs`) and the builder share this code, so a template that the
//! build test-rendered is rendered by the same engine on the node.

pub mod handoff;
pub mod template;

pub mod base64;
