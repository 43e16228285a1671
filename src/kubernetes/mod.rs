// SPDX-License-Identifier: Apache-2.0
//! Kubernetes as data.
pub mod flags;
pub mod version;
