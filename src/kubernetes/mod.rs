// SPDX-License-Identifier: Apache-2.0
//! Kubernetes 1.20 to 1.36: which flags, fields and versions each minor has, and what Kiln writes
//! for its programs.
//!
//! ```text
//! tables:      version   flags/   kinds   requirements         facts with their sources
//! input:       settings                                        plain values, checked
//! generators:  arguments configs kubeconfig bootstrap          one question each
//!              units pods                                      how a program is started
//!              pod_network addons                              what a cluster runs beside it
//! result:      files                                           all of it, by machine
//! inputs:      release program companions                      programs and packages that fit
//!              secrets                                         what is no one's to know
//! image:       role static_pods                                what it adds to a profile
//! ```
//!
//! Everything is pure. What only a host knows stays a first-boot template's expression
//! ([`settings::PerHost`]). Every generated flag and field is looked up in the tables, so a
//! version that lacks one fails a test here and not on a node. Sources and decisions are in
//! `docs/kubernetes.md`.

pub mod addons;
pub mod arguments;
pub mod bootstrap;
pub mod bring_up;
pub mod companions;
pub mod configs;
pub mod document;
pub mod etcd;
pub mod extra;
pub mod files;
#[cfg(test)]
pub(crate) mod fixture;
pub mod flags;
pub mod kinds;
pub mod kubeconfig;
pub mod pod_network;
pub mod pods;
pub mod program;
pub mod release;
pub mod requirements;
pub mod role;
pub mod secrets;
pub mod settings;
pub mod static_pods;
pub mod units;
pub mod version;

/// The role of hosts with the control plane.
pub const MASTER: &str = "master";
/// The role of hosts that run pods.
pub const NODE: &str = "node";

#[cfg(test)]
mod tests {
    use super::{
        arguments::arguments,
        flags::{Component, check_extra},
        settings::{ControlPlane, Machine, tests::settings},
        version::Minor,
    };

    #[test]
    fn every_generated_flag_exists_in_that_minor_and_stands_there_once() {
        for minor in Minor::all() {
            for control_plane in [ControlPlane::Systemd, ControlPlane::StaticPods] {
                let mut settings = settings(&format!("v{minor}.0"));
                settings.control_plane = control_plane;
                for component in Component::ALL {
                    for machine in [Machine::Node, Machine::ControlPlane] {
                        let mut flags = arguments(component, &settings, machine);
                        for argument in &flags {
                            assert_eq!(check_extra(component, minor, &argument.flag), Ok(()));
                        }
                        flags.sort_by(|a, b| a.flag.cmp(&b.flag));
                        assert!(flags.windows(2).all(|pair| pair[0].flag != pair[1].flag));
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_serves_without_tls_in_any_minor() {
        for minor in Minor::all() {
            let settings = settings(&format!("v{minor}.0"));
            for component in [Component::ControllerManager, Component::Scheduler] {
                let list: Vec<_> = arguments(component, &settings, Machine::ControlPlane)
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                assert!(list.contains(&"--bind-address=127.0.0.1".to_owned()));
                assert_eq!(list.contains(&"--port=0".to_owned()), minor.get() <= 22, "{minor}");
            }
        }
    }
}
