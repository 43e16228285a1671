// SPDX-License-Identifier: Apache-2.0
//! Which flags does each program of Kubernetes have, by minor version?
//!
//! The tables hold what Kiln writes and what people commonly add; each fact names where upstream
//! says it. A program of Kubernetes that meets an unknown flag prints its help and exits, which on
//! a node is a crash loop nobody watches: so a flag that the tables do not know is refused here.
//! What could not be verified is not in the tables; `docs/kubernetes.md` lists it.

mod apiserver;
mod controller_manager;
mod kubelet;
mod logs;
mod proxy;
mod scheduler;

use std::fmt;

use serde::{Serialize, Serializer};

use super::version::Minor;
use crate::{
    diagnostic::{nearest, quoted},
    yaml::fields::Complaint,
};

/// A program of Kubernetes that Kiln starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    ApiServer,
    ControllerManager,
    Scheduler,
    Kubelet,
    KubeProxy,
}

impl Component {
    pub const ALL: [Self; 5] =
        [Self::ApiServer, Self::ControllerManager, Self::Scheduler, Self::Kubelet, Self::KubeProxy];

    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }

    /// Its flags, those of logging included.
    pub fn flags(self) -> impl Iterator<Item = &'static Flag> + Clone {
        let own: &'static [Flag] = match self {
            Self::ApiServer => apiserver::FLAGS,
            Self::ControllerManager => controller_manager::FLAGS,
            Self::Scheduler => scheduler::FLAGS,
            Self::Kubelet => kubelet::FLAGS,
            Self::KubeProxy => proxy::FLAGS,
        };
        let files: &'static [Flag] = if self == Self::KubeProxy { &[] } else { logs::FILES };
        own.iter().chain(logs::FLAGS).chain(files)
    }

    fn find(self, name: &str) -> Option<&'static Flag> {
        self.flags().find(|flag| flag.name == name)
    }
}

impl Serialize for Component {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One flag of one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    /// The first minor that has it; none if Kiln's oldest has it already.
    pub since: Option<Minor>,
    /// From this minor on it warns.
    pub deprecated: Option<Minor>,
    /// The first minor that no longer has it.
    pub removed: Option<Minor>,
    /// What to do without it; empty if there is nothing to do.
    pub instead: &'static str,
    /// Where upstream says so.
    pub source: &'static str,
}

impl Flag {
    /// A flag that every minor of the tables has.
    const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, since: None, deprecated: None, removed: None, instead: "", source }
    }

    const fn since(name: &'static str, minor: u8, source: &'static str) -> Self {
        Self { since: Some(Minor::known(minor)), ..Self::new(name, source) }
    }

    const fn removed(
        name: &'static str,
        minor: u8,
        instead: &'static str,
        source: &'static str,
    ) -> Self {
        Self { removed: Some(Minor::known(minor)), instead, ..Self::new(name, source) }
    }

    const fn deprecated(mut self, minor: u8, instead: &'static str) -> Self {
        self.deprecated = Some(Minor::known(minor));
        self.instead = instead;
        self
    }

    /// Whether the program of this minor accepts it.
    pub fn exists(&self, minor: Minor) -> bool {
        self.since.is_none_or(|since| minor >= since)
            && self.removed.is_none_or(|removed| minor < removed)
    }
}

/// Whether the program of this minor has a flag, written with or without its dashes.
///
/// # Errors
/// It does not, or not yet, or no longer; or the tables do not know it.
pub fn check_extra(component: Component, minor: Minor, flag: &str) -> Result<(), Complaint> {
    let name = flag.trim_start_matches('-');
    let Some(known) = component.find(name) else {
        return Err(unknown(component, minor, name));
    };
    if let Some(since) = known.since.filter(|since| minor < *since) {
        return Err(Complaint::new(
            format!("{component} {minor} does not have flag '--{name}' yet"),
            format!("it comes with {since} ({})", known.source),
        ));
    }
    if let Some(removed) = known.removed.filter(|removed| minor >= *removed) {
        let help = match known.instead {
            "" => "leave it out".to_owned(),
            instead => instead.to_owned(),
        };
        return Err(Complaint::new(
            format!("{component} {minor} has no flag '--{name}': {removed} removed it"),
            format!("{help} ({})", known.source),
        ));
    }
    Ok(())
}

/// Whether a flag decides what a program prints, which no configuration file takes away.
pub fn is_of_logging(name: &str) -> bool {
    logs::FLAGS.iter().any(|flag| flag.name == name)
}

fn unknown(component: Component, minor: Minor, name: &str) -> Complaint {
    let what = format!("Kiln knows no flag {} of {component}", quoted(&format!("--{name}")));
    let other = Component::ALL
        .into_iter()
        .find(|other| other.find(name).is_some_and(|flag| flag.exists(minor)));
    let names = component.flags().filter(|flag| flag.exists(minor)).map(|flag| flag.name);
    let help = match (nearest(name, names), other) {
        (Some(near), _) => format!("did you mean '--{near}'?"),
        (None, Some(other)) => format!("{other} has a flag of that name"),
        (None, None) => {
            "an unknown flag stops the program: correct it, or add it to the tables in 'src/kubernetes/flags' with its source".to_owned()
        }
    };
    Complaint::new(what, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minor(number: u64) -> Minor {
        Minor::new(number).unwrap()
    }

    fn refusal(component: Component, number: u64, flag: &str) -> String {
        check_extra(component, minor(number), flag).unwrap_err().without_place().to_string()
    }

    #[test]
    fn tables_are_sorted_without_doubles_and_every_fact_has_a_source() {
        for component in Component::ALL {
            let mut names: Vec<_> = component.flags().map(|flag| flag.name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{component}: {names:?}");
            for flag in component.flags() {
                assert!(!flag.source.is_empty() && !flag.name.starts_with('-'), "{}", flag.name);
                let order: Vec<_> =
                    [flag.since, flag.deprecated, flag.removed].into_iter().flatten().collect();
                assert!(order.is_sorted(), "{}", flag.name);
            }
        }
        let own: [&[Flag]; 7] = [
            apiserver::FLAGS,
            controller_manager::FLAGS,
            scheduler::FLAGS,
            kubelet::FLAGS,
            proxy::FLAGS,
            logs::FLAGS,
            logs::FILES,
        ];
        for table in own {
            assert!(table.is_sorted_by_key(|flag| flag.name), "{}", table[0].name);
        }
    }

    #[test]
    fn every_removed_flag_is_refused_from_that_minor_on_and_not_before() {
        for component in Component::ALL {
            for flag in component.flags() {
                for minor in Minor::all() {
                    let answer = check_extra(component, minor, flag.name);
                    assert_eq!(answer.is_ok(), flag.exists(minor), "{component} {minor} {flag:?}");
                }
                let Some(removed) = flag.removed else { continue };
                assert!(check_extra(component, removed, flag.name).is_err(), "{}", flag.name);
            }
        }
    }

    #[test]
    fn insecure_ports_are_refused() {
        use Component::{ApiServer, ControllerManager, Scheduler};
        for (component, flag) in [
            (ApiServer, "--insecure-port"),
            (ApiServer, "--insecure-bind-address"),
            (ControllerManager, "--port"),
            (Scheduler, "--port"),
        ] {
            assert!(check_extra(component, minor(24), flag).is_err(), "{component} {flag}");
        }
        assert_eq!(
            refusal(ApiServer, 24, "--insecure-port"),
            "error: kube-apiserver 1.24 has no flag '--insecure-port': 1.24 removed it\n\
             help:  leave it out: nothing serves without TLS since 1.20 (PR 106859)"
        );
    }

    #[test]
    fn refusals_say_what_to_do() {
        use Component::{ApiServer, Kubelet};
        assert_eq!(
            refusal(Kubelet, 27, "container-runtime"),
            "error: kubelet 1.27 has no flag '--container-runtime': 1.27 removed it\n\
             help:  write --container-runtime-endpoint alone (CHANGELOG-1.27.md, PR 114017)"
        );
        assert!(refusal(ApiServer, 28, "--authentication-config").contains("it comes with 1.29"));
        assert!(refusal(ApiServer, 30, "--audit-log-maxsze").contains("'--audit-log-maxsize'?"));
        assert!(refusal(ApiServer, 30, "--container-runtime-endpoint").contains("kubelet has"));
        assert!(refusal(ApiServer, 20, "--basic-auth-file").contains("knows no flag"));
        assert!(refusal(ApiServer, 20, "--\n").contains(r"'--\n'"));
    }
}
