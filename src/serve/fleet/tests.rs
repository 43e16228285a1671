// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::serve::fixture;

const FROM: [u8; 4] = [10, 0, 0, 7];

/// The fleet, and the build of `lb` that machines load.
fn fleet() -> (Fleet, Images) {
    let out = tempfile::tempdir().unwrap();
    fixture::build(out.path(), "root", 0);
    let (cluster, _) = fixture::plain();
    let images = fixture::images(out.path(), &cluster);
    (Fleet::new(&cluster, &images), images)
}

fn asked(fleet: &mut Fleet, what: What<'_>) -> Option<String> {
    fleet.asked(&Note { at: 1_700_000_000, from: FROM.into(), what })
}

fn reported(fleet: &mut Fleet, json: &str) -> String {
    let report = Report::parse(json.as_bytes()).unwrap();
    fleet.reported(1_700_000_001, FROM.into(), "l1", report)
}

fn page(fleet: &mut Fleet) -> String {
    String::from_utf8(fleet.page().to_vec()).unwrap()
}

#[test]
fn a_host_is_followed_from_its_script_to_ready() {
    let (mut fleet, images) = fleet();
    let image = images.role("lb").unwrap();
    assert_eq!(asked(&mut fleet, What::File(image, "c-lb.disk")), None);
    assert_eq!(fleet.hosts["l1"].phase, Phase::Unseen);
    let line = asked(&mut fleet, What::Script("l1"));
    assert_eq!(line.as_deref(), Some("l1 (10.0.0.7): boot script"));
    // Files are known by the address that the script went to.
    assert_eq!(asked(&mut fleet, What::File(image, "c-lb.disk")), None);
    assert_eq!(fleet.hosts["l1"].last, Some(("root".to_owned(), 1_700_000_000)));
    assert!(asked(&mut fleet, What::Document("l1", "meta-data")).is_some());
    assert_eq!(fleet.hosts["l1"].phase, Phase::Metadata);
    assert_eq!(asked(&mut fleet, What::Document("l1", "user-data")), None);
    reported(&mut fleet, r#"{"phase":"configured"}"#);
    assert_eq!(fleet.hosts["l1"].phase, Phase::Configured);
    let hash = Digest::of(b"root");
    let ready = format!(
        r#"{{"phase":"ready","message":"ready role=lb","version":"1","root-hash":"{hash}"}}"#
    );
    assert_eq!(reported(&mut fleet, &ready), "l1 (10.0.0.7): ready: ready role=lb");
    let html = page(&mut fleet);
    assert!(html.contains("</span> ready</span>"), "{html}");
    assert!(html.contains("1 (000000000000)") && !html.contains("not the newest"), "{html}");
    // It asks its server again while it runs, and stays what it is.
    asked(&mut fleet, What::Document("l1", "meta-data"));
    assert_eq!(fleet.hosts["l1"].phase, Phase::Ready);
    let other = ready.replace(&hash.to_string(), &"1".repeat(64));
    reported(&mut fleet, &other);
    assert!(page(&mut fleet).contains("not the newest build"));
}

#[test]
fn why_first_boot_stopped_is_not_forgotten() {
    let (mut fleet, _) = fleet();
    reported(&mut fleet, r#"{"phase":"stopped","message":"user-data:3: no"}"#);
    reported(&mut fleet, r#"{"phase":"not-ready","message":"kiln-init.service: still starting"}"#);
    let seen = &fleet.hosts["l1"];
    assert_eq!((seen.phase, &*seen.message), (Phase::Stopped, "user-data:3: no"));
    asked(&mut fleet, What::Script("l1"));
    assert_eq!(fleet.hosts["l1"].message, "");
}

#[test]
fn what_hosts_say_is_text() {
    let (mut fleet, _) = fleet();
    let hostile = r#"<script>alert(1)</script>\"' onload='x' &lt; {{ cluster }}"#;
    let json = format!(
        r#"{{"phase":"stopped","message":"{hostile}","version":"{hostile}",
            "first-boot":{{"address":"{hostile}","warnings":["{hostile}"]}}}}"#
    );
    let mut watcher = fleet.watch().unwrap();
    reported(&mut fleet, &json);
    let html = page(&mut fleet);
    assert!(!html.contains("<script>alert"), "{html}");
    assert_eq!(html.matches("&lt;script&gt;alert(1)").count(), 4, "{html}");
    assert!(html.contains("{{ cluster }}") && html.contains("&amp;lt;"), "{html}");
    // What pages get later is the same text, in one line.
    watcher.try_recv().unwrap();
    let event = String::from_utf8(watcher.try_recv().unwrap().to_vec()).unwrap();
    assert!(event.starts_with("data: {") && event.ends_with("}\n\n"), "{event}");
    assert_eq!(event.matches('\n').count(), 2);
    let value: serde_json::Value = serde_json::from_str(event[6..].trim()).unwrap();
    let row = value["row"].as_str().unwrap();
    assert!(row.contains("id=\"host-l1\"") && !row.contains("<script"), "{row}");
}

#[test]
fn strangers_are_counted_and_few() {
    let (mut fleet, _) = fleet();
    let key = |n: usize| format!("52-54-00-00-00-{n:02x}");
    assert!(fleet.stranger(1, FROM.into(), &key(1)));
    assert!(!fleet.stranger(2, FROM.into(), &key(1)));
    assert!(page(&mut fleet).contains("2 requests"));
    for n in 0..200 {
        fleet.stranger(3, FROM.into(), &key(n));
    }
    assert_eq!(fleet.strangers.len(), STRANGERS_MAX);
}

#[test]
fn who_does_not_keep_up_is_left_and_the_rest_are_few() {
    let (mut fleet, _) = fleet();
    let mut slow = fleet.watch().unwrap();
    for _ in 0..WAITING_MAX + 10 {
        fleet.sign_of_life();
    }
    assert!(fleet.watchers.is_empty());
    while let Ok(bytes) = slow.try_recv() {
        assert!(!bytes.is_empty());
    }
    let watchers: Vec<_> = (0..WATCHERS_MAX).map(|_| fleet.watch().unwrap()).collect();
    assert!(fleet.watch().is_none());
    drop(watchers);
    assert!(fleet.watch().is_some());
}

#[test]
fn addresses_are_remembered_within_bounds() {
    let (mut fleet, _) = fleet();
    for n in 0..1000_u32 {
        let from = IpAddr::from(n.to_be_bytes());
        fleet.asked(&Note { at: 1, from, what: What::Script("l1") });
    }
    assert_eq!(fleet.addresses.len(), fleet.hosts.len() * ADDRESSES_OF_ONE);
    assert_eq!(fleet.host_at(999_u32.to_be_bytes().into()).as_deref(), Some("l1"));
    assert_eq!(fleet.host_at(1_u32.to_be_bytes().into()), None);
}
