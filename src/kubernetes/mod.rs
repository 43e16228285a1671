// SPDX-License-Identifier: Apache-2.0
//! Kubernetes as data.
pub mod arguments;
pub mod document;
pub mod flags;
pub mod kinds;
pub mod requirements;
pub mod settings;
pub mod version;
