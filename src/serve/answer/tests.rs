// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::serve::fixture::{self, MAC, UUID};

/// What a path means, in short; the status if it means nothing.
fn ask(path: &str, n_keys: usize, keys: Keys, secure: bool) -> Result<String, u16> {
    let out = tempfile::tempdir().unwrap();
    fixture::build(out.path(), "root", n_keys);
    let (cluster, hosts) = fixture::plain();
    let images = fixture::images(out.path(), &cluster);
    let path = path.replace("ID", &images.role("lb").unwrap().id);
    let known = Known { hosts: &hosts, images: &images, first_stage: None, keys };
    match route(known, &path, secure) {
        Ok(Found::Script(host, key)) => Ok(format!("script of {} by {key}", host.name)),
        Ok(Found::Document(host, file)) => Ok(format!("{file} of {}", host.name)),
        Ok(Found::Report(host)) => Ok(format!("report of {}", host.name)),
        Ok(Found::File(image, file)) => Ok(format!("{file} of {}", image.role)),
        Ok(other) => Ok(format!("{other:?}")),
        Err(refusal) => Err(refusal.status.as_u16()),
    }
}

fn plain(path: &str) -> Result<String, u16> {
    ask(path, 0, Keys::default(), false)
}

#[test]
fn paths_mean_what_is_known() {
    for (path, meaning) in [
        ("/", "Page"),
        ("/boot.ipxe", "First"),
        ("/events", "Events"),
        ("/hosts/52-54-00-00-00-01/boot.ipxe", "script of l1 by 52-54-00-00-00-01"),
        ("/hosts/52:54:00:00:00:01/meta-data", "meta-data of l1"),
        ("/hosts/52-54-00-00-00-01/SHA256SUMS", "SHA256SUMS of l1"),
        ("/hosts/4C4C4544-0042-3510-8051-B4C04F4E3232/user-data", "user-data of n1"),
        ("/hosts/52-54-00-00-00-01/report", "report of l1"),
        ("/images/lb/c-lb.disk", "c-lb.disk of lb"),
        ("/images/lb/v-ID/c-lb.disk", "c-lb.disk of lb"),
        ("/images/lb/manifest.json", "manifest.json of lb"),
    ] {
        assert_eq!(plain(path).as_deref(), Ok(meaning), "{path}");
    }
}

#[test]
fn hostile_paths_mean_nothing() {
    for path in [
        "",
        "*",
        "//",
        "/.",
        "/..",
        "/../",
        "/etc/passwd",
        "//etc/passwd",
        "/boot.ipxe/",
        "/boot.ipxe/..",
        "/images",
        "/images/",
        "/images/lb",
        "/images/lb/",
        "/images/lb/..",
        "/images/lb/../secret",
        "/images/../secret",
        "/images/lb/%2e%2e/secret",
        "/images/lb/..%2fsecret",
        "/images/lb/c-lb.disk/",
        "/images/lb/c-lb.disk%00",
        "/images/lb/./c-lb.disk",
        "/images/lb//c-lb.disk",
        "/images/LB/c-lb.disk",
        "/images/lb/v-ID/../c-lb.disk",
        "/images/lb/v-/c-lb.disk",
        "/images/lb/v-000000000000/c-lb.disk",
        "/images/lb/ID/c-lb.disk",
        "/images/lb/v-ID/x/c-lb.disk",
        "/images/node/manifest.json",
        "/images/lb/secret",
        "/images/lb\\..\\secret",
        "/hosts/",
        "/hosts/x",
        "/hosts/l1/meta-data",
        "/hosts/../boot.ipxe",
        "/hosts/52-54-00-00-00-01",
        "/hosts/52-54-00-00-00-01/",
        "/hosts/52-54-00-00-00-01/x",
        "/hosts/52-54-00-00-00-01/meta-data/x",
        "/hosts/52-54-00-00-00-02/meta-data",
        "/ipxe/ipxe.efi",
        "/ipxe/..",
    ] {
        assert_eq!(plain(path), Err(404), "{path}");
    }
}

#[test]
fn images_with_keys_are_served_as_somebody_said() {
    let path = "/images/lb/c-lb.disk";
    let ask = |images, secure| ask(path, 1, Keys { images, metadata: false }, secure).is_ok();
    for (images, plain, secure) in
        [(Secrecy::Never, false, false), (Secrecy::Https, false, true), (Secrecy::Http, true, true)]
    {
        assert_eq!((ask(images, false), ask(images, true)), (plain, secure), "{images:?}");
    }
}

#[test]
fn metadata_with_keys_are_served_over_https_alone() {
    let cluster = {
        let mut cluster = fixture::cluster(crate::kubernetes::fixture::SYSTEMD);
        cluster.pki.delivery = crate::cluster::Delivery::Seed;
        cluster
    };
    assert_eq!(crate::serve::with_keys(&cluster), ["l1", "m1", "m2", "n1", "n2"]);
    let seed = |name: &String| {
        let files = crate::seed::files_without_keys(&cluster, name).unwrap();
        (name.clone(), files)
    };
    let hosts = Hosts::new(&cluster, cluster.hosts.keys().map(seed).collect());
    let images = Images::default();
    let status = |key: &str, metadata, secure| {
        let keys = Keys { metadata, ..Keys::default() };
        let known = Known { hosts: &hosts, images: &images, first_stage: None, keys };
        let path = format!("/hosts/{key}/user-data");
        route(known, &path, secure).map(drop).map_err(|refusal| refusal.status.as_u16())
    };
    for (metadata, secure, expected) in [
        (false, false, Err(403)),
        (false, true, Err(403)),
        (true, false, Err(403)),
        (true, true, Ok(())),
    ] {
        for key in [UUID, MAC] {
            assert_eq!(status(key, metadata, secure), expected, "{key} {metadata} {secure}");
        }
    }
}

#[test]
fn only_this_machine_speaks_for_others() {
    let headers =
        HeaderMap::from_iter([("x-real-ip".parse().unwrap(), "10.0.0.9".parse().unwrap())]);
    let [here, there, other] = ["127.0.0.1", "10.0.0.1", "10.0.0.9"].map(|it| it.parse().unwrap());
    assert_eq!((forwarded(here, &headers), forwarded(there, &headers)), (other, there));
    assert_eq!(forwarded(here, &HeaderMap::new()), here);
}
