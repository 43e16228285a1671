// SPDX-License-Identifier: Apache-2.0
//! Kubernetes as data.
pub mod arguments;
pub mod bootstrap;
pub mod configs;
pub mod document;
pub mod flags;
pub mod kinds;
pub mod kubeconfig;
pub mod requirements;
pub mod settings;
pub mod version;
