// SPDX-License-Identifier: Apache-2.0
//! From root, hash tree and ESP to one disk.
//!
//! [`layout`] decides, without touching anything, where every byte of the disk belongs;
//! [`write`] puts them there, and [`forms`] into whatever a hypervisor or a person wants instead.

pub mod forms;
pub mod layout;
pub mod live;
pub mod write;
