// SPDX-License-Identifier: Apache-2.0
//! Time, names and refusals of the pure stages.

use proptest::prelude::*;

use super::{
    Ca, DAY, Error, Material,
    authority::{Authority, found},
    leaves::{LeafSpec, Scope, leaves, scopes},
    read,
    state::{Verdict, Why, judge},
};
use crate::{
    cluster::{self, Cluster, Delivery, Proxy},
    diagnostic::{Problems, Source},
    sys::random::fresh,
    workspace::Workspace,
};

const NOW: u64 = 1_790_000_000;

fn cluster() -> Cluster {
    let profile = |role: &str| (role.to_owned(), Source::new("profiles", ""));
    let workspace = Workspace {
        cluster: Source::new("cluster.yaml", include_str!("../../cluster.yaml")),
        profiles: ["master", "node", "lb"].into_iter().map(profile).collect(),
        overlays: Default::default(),
        addons: Default::default(),
    };
    let problems = Problems::new();
    let cluster = cluster::load(&workspace, &problems);
    problems.finish(cluster).unwrap()
}

fn spec(name: &str, scope: Scope) -> LeafSpec {
    leaves(&cluster(), &scope).into_iter().find(|spec| spec.name == name).unwrap()
}

/// The Kubernetes CA of `days`, made at `NOW`.
fn authority(days: u32) -> Material {
    let pair = found(Ca::Kubernetes, "quickstart", days, fresh().unwrap(), NOW).unwrap();
    let mut material = Material::default();
    material.insert("kubernetes-ca.crt", pair.certificate);
    material.insert("kubernetes-ca.key", pair.key.reveal());
    material
}

fn open(material: &Material, now: u64) -> Result<Authority, Error> {
    Authority::open(Ca::Kubernetes, material, now)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    let error = result.unwrap_err();
    (error.to_string(), error.help())
}

#[test]
fn a_ca_is_good_from_five_minutes_ago_until_its_last_second() {
    let material = authority(10);
    let end = NOW + 10 * DAY;
    assert!(open(&material, NOW - 300).is_ok() && open(&material, end).is_ok());
    assert_eq!(
        refused(open(&material, NOW - 301)),
        (
            "'pki/kubernetes-ca.crt' is valid from 2026-09-21T14:08:20Z; \
             it is 2026-09-21T14:08:19Z now"
                .to_owned(),
            "set this machine's clock; certificates depend on it".to_owned()
        )
    );
    assert_eq!(
        refused(open(&material, end + 1)),
        (
            "'pki/kubernetes-ca.crt' expired at 2026-10-01T14:13:20Z; it is 2026-10-01T14:13:21Z now"
                .to_owned(),
            "make a new CA: docs/pki.md, 'A new CA'".to_owned()
        )
    );
}

#[test]
fn a_leaf_never_outlives_its_ca() {
    let spec = spec("scheduler", Scope::Role("master".to_owned()));
    let fine = open(&authority(365), NOW).unwrap().issue(&spec, fresh().unwrap(), NOW);
    assert_eq!(fine.unwrap().until, NOW + 365 * DAY);
    let late = open(&authority(365), NOW + 1).unwrap().issue(&spec, fresh().unwrap(), NOW + 1);
    assert_eq!(
        refused(late).0,
        "a certificate until 2027-09-21T14:13:21Z would outlive 'pki/kubernetes-ca.crt', \
         which ends at 2027-09-21T14:13:20Z"
    );
}

#[test]
fn a_certificate_is_right_until_the_last_third_of_its_life() {
    let spec = spec("scheduler", Scope::Role("master".to_owned()));
    let mut material = authority(3650);
    let authority = open(&material, NOW).unwrap();
    let pair = authority.issue(&spec, fresh().unwrap(), NOW).unwrap();
    material.insert(spec.certificate(), pair.certificate);
    material.insert(spec.key(), pair.key.reveal());
    let at = |now| judge(&spec, authority.certificate(), &material, now).unwrap();
    let end = NOW + 365 * DAY;
    let third = (365 * DAY + 300) / 3;
    assert_eq!(at(NOW), Verdict::Right(end));
    assert_eq!(at(end - third - 1), Verdict::Right(end));
    assert_eq!(at(end - third), Verdict::Make(Why::Expires(end)));
    assert_eq!(at(end + DAY), Verdict::Make(Why::Expires(end)));

    let mut other = spec.clone();
    other.subject.organization = Some("system:masters".to_owned());
    let verdict = judge(&other, authority.certificate(), &material, NOW).unwrap();
    assert_eq!(verdict, Verdict::Make(Why::Subject("CN=system:kube-scheduler".to_owned())));
    other = spec.clone();
    other.usage = super::leaves::Usage::Both;
    let verdict = judge(&other, authority.certificate(), &material, NOW).unwrap();
    assert_eq!(verdict, Verdict::Make(Why::Usage));
}

#[test]
fn members_of_etcd_hold_its_certificates_whatever_their_role() {
    let mut cluster = cluster();
    cluster.etcd.members = vec!["k8s-lb-primary".to_owned()];
    cluster.lb.proxy = Proxy::Nginx;
    let names = |scope: &Scope| -> Vec<&str> {
        leaves(&cluster, scope).iter().map(|spec| spec.name).collect()
    };
    let etcd = ["etcd-server", "etcd-peer", "etcd-healthcheck-client"];
    assert_eq!(names(&Scope::Role("lb".to_owned())), etcd);
    assert_eq!(names(&Scope::Role("node".to_owned())), ["kube-proxy"]);
    assert_eq!(names(&Scope::Host("k8s-lb-backup".to_owned())), [""; 0]);
    cluster.pki.delivery = Delivery::Seed;
    assert_eq!(scopes(&cluster).len(), 5);
}

#[test]
fn names_fit_their_field() {
    let authority = open(&authority(3650), NOW).unwrap();
    for name in ["", "a\nb", &"x".repeat(65)] {
        let subject = super::leaves::Subject { common_name: name.to_owned(), organization: None };
        let (fact, help) = refused(authority.client(&subject, 1, fresh().unwrap(), NOW));
        assert!(fact.starts_with("user '") && !fact.contains('\n'), "{fact}");
        assert_eq!(help, "write a name of 1 to 64 bytes");
    }
}

proptest! {
    #[test]
    fn no_text_panics(bytes: Vec<u8>, text: String) {
        let _ = read::certificates("x", &bytes);
        let _ = read::key("x", text.as_bytes());
    }

    #[test]
    fn no_flipped_byte_panics_or_keeps_the_signature(at: proptest::sample::Index, flip in 1..=255u8) {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let ca = read::first("ca", authority(1).get("kubernetes-ca.crt").unwrap()).unwrap();
        let mut der = ca.der().to_vec();
        let at = at.index(ca.der().len());
        der[at] ^= flip;
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(&der)
        );
        if let Ok(found) = read::first("x", pem.as_bytes()) {
            // Not signed are the head of the whole, and algorithm and signature at the end.
            prop_assert!(at < 4 || at + 90 > der.len() || !found.is_signed_by(&ca));
        }
    }
}
