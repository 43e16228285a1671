// SPDX-License-Identifier: Apache-2.0

use std::time::Duration;

use proptest::prelude::*;

use super::{
    fake::{Fake, Play, answer},
    sums::digest,
    *,
};
use crate::metadata::Dialect;

const BUDGET: Duration = Duration::from_secs(60);

fn facts() -> Facts {
    Facts { dmi: Dmi::default(), interface: "eth0".to_owned(), mac: "52:54:00:12:34:56".to_owned() }
}

fn ask(ask: &Ask, network: &mut Fake) -> Result<Option<Seed>, String> {
    let mut client = Client::new(network, BUDGET);
    ask.documents(&facts(), &mut client).map_err(|error| match error {
        Error::Silent(what) => format!("silent: {what}"),
        Error::Refused(what) => what,
    })
}

fn http(url: &str, network: &mut Fake) -> Result<Option<Seed>, String> {
    let place = Place::parse(url, "here").map_err(|error| error.to_string())?;
    ask(&Ask::Http(place), network)
}

const BASE: &str = "http://a/52-54-00-12-34-56";

fn one_document(play: Play) -> Fake {
    Fake::default().on(&format!("{BASE}/meta-data"), play)
}

#[test]
fn documents_are_fetched_by_mac() {
    let mut network = Fake::default()
        .ok(&format!("{BASE}/meta-data"), "a: 1")
        .ok(&format!("{BASE}/user-data"), "#cloud-config\n")
        .ok(&format!("{BASE}/vendor-data"), "x");
    let seed = http("http://a/{mac}", &mut network).unwrap().unwrap();
    assert_eq!(seed.origin, format!("http '{BASE}/'"));
    assert_eq!(seed.server(), Some(Source::Http));
    assert_eq!(seed.meta_data.as_deref(), Some(&b"a: 1"[..]));
    assert_eq!(seed.network_config, None);
    assert_eq!(seed.user_data.as_deref(), Some(&b"#cloud-config\n"[..]));
    assert_eq!(seed.warnings, [format!("http '{BASE}/': vendor-data is not read")]);
    assert_eq!(network.requests.borrow().len(), 4);
    assert_eq!(http("http://a/{mac}", &mut Fake::default()), Ok(None));
}

#[test]
fn reports_go_where_the_command_line_says_or_where_metadata_come_from() {
    let asks = [Ask::Ec2, Ask::Http(Place::parse("http://a/{mac}/", "here").unwrap())];
    let url = |line: &str, asks: &[Ask]| {
        let place = report_place(line, asks).map_err(|error| error.to_string())?;
        Ok::<_, String>(place.map(|it| it.url("report", &facts()).unwrap().to_string()))
    };
    assert_eq!(url("quiet", &asks), Ok(Some(format!("{BASE}/report"))));
    let line = "kiln.report=http://b/x kiln.url=http://c/";
    assert_eq!(url(line, &asks), Ok(Some("http://b/x/report".to_owned())));
    assert_eq!(url("kiln.url=http://c/", &asks[..1]), Ok(None));
    assert!(url("kiln.report=https://b/", &asks).is_err());
    assert_eq!(root_hash("a roothash=ab b"), "ab");
}

#[test]
fn a_report_is_sent_once_and_its_refusal_is_told() {
    let url = url::Url::parse("http://a/report").unwrap();
    let post = |play| {
        let mut network = Fake::default().on("http://a/report", play);
        let outcome = Client::once(&mut network, BUDGET).post(&url, b"{}");
        (outcome.map_err(|error| error.to_string()), network.requests.borrow().len())
    };
    assert_eq!(post(answer("204 No Content", "", "")), (Ok(()), 1));
    let refused = Err("'http://a/report': status 405".to_owned());
    assert_eq!(post(answer("405 Method Not Allowed", "", "")), (refused, 1));
    assert_eq!(post(Play::Hangs).0, Err("'http://a/report': no answer in time".to_owned()));
}

#[test]
fn what_time_can_heal_is_asked_again() {
    let url = format!("{BASE}/meta-data");
    let mut network = Fake::default()
        .on(&url, Play::Refuses)
        .on(&url, Play::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na".to_vec()))
        .status(&url, "503 Busy")
        .on(&url, answer("429 Slow Down", "Retry-After: 7\r\n", ""))
        .ok(&url, "a: 1");
    let seed = http("http://a/{mac}", &mut network).unwrap().unwrap();
    assert_eq!(seed.meta_data.as_deref(), Some(&b"a: 1"[..]));
    // 0.5 + 1 + 2 + 7 s, and nothing but them.
    assert_eq!(network.elapsed().as_secs(), 10);
}

#[test]
fn silence_ends_with_the_budget() {
    for (play, said) in [
        (Play::Refuses, "connection refused"),
        (Play::Hangs, "no answer in time"),
        (answer("503 Busy", "", ""), "status 503"),
        (answer("503 Busy", "Retry-After: 999999\r\n", ""), "status 503, asks to wait 999999 s"),
        (answer("503 Busy", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", ""), "status 503"),
        (Play::Drip(b"HTTP/1.1 200 OK\r\n\r\na".to_vec()), "no answer in time"),
    ] {
        let mut network = one_document(play.clone());
        let message = http("http://a/{mac}", &mut network).unwrap_err();
        let start = format!("silent: '{BASE}/meta-data': ");
        let rest = message.strip_prefix(&start).unwrap_or_else(|| panic!("{message}"));
        let (what, _) = rest.rsplit_once("; waited ").unwrap_or_else(|| panic!("{message}"));
        assert_eq!(what, said, "{play:?}");
        assert!(network.elapsed() <= BUDGET, "{play:?}: {:?}", network.elapsed());
    }
}

#[test]
fn answers_that_are_no_document_are_refused_at_once() {
    let portal = "<!DOCTYPE html><title>Log in</title>";
    let redirect = |to: &str| answer("302 Found", &format!("Location: {to}\r\n"), "");
    for (play, what) in [
        (
            answer("200 OK", "Content-Type: text/html; x\r\n", "a: 1"),
            "expected a document, found a web page",
        ),
        (answer("200 OK", "", portal), "expected a document, found a web page"),
        (answer("401 Unauthorized", "", ""), "the server does not allow it (401)"),
        (answer("403 Forbidden", "", ""), "the server does not allow it (403)"),
        (answer("204 No Content", "", ""), "expected status 200 or 404, found 204"),
        (redirect("file:///etc/shadow"), "a redirect: expected http://, found 'file://'"),
        (
            redirect("https://a/"),
            "a redirect: https cannot be checked before the clock is set: use http:// and pin the \
             documents by '#sha256=' and the digest of their SHA256SUMS",
        ),
        (
            redirect("http://u:p@a/"),
            "a redirect: a URL of first boot has no user name and no password",
        ),
        (redirect("meta-data"), "more than 3 redirects"),
        (
            Play::Endless(b"HTTP/1.1 200 OK\r\n".to_vec()),
            "expected a header line, found 'HTTP/1.1 200 OK'",
        ),
    ] {
        let mut network = one_document(play);
        let message = http("http://a/{mac}", &mut network).unwrap_err();
        assert_eq!(message, format!("'{BASE}/meta-data': {what}"));
        assert_eq!(network.elapsed(), Duration::ZERO);
    }
}

#[test]
fn redirects_are_followed_three_times() {
    let redirect = |to: &str| answer("307 Moved", &format!("Location: {to}\r\n"), "");
    let mut network = one_document(redirect("http://b/1"))
        .on("http://b/1", redirect("2"))
        .on("http://b/2", redirect("/3"))
        .ok("http://b/3", "a: 1");
    let seed = http("http://a/{mac}", &mut network).unwrap().unwrap();
    assert_eq!(seed.meta_data.as_deref(), Some(&b"a: 1"[..]));
}

#[test]
fn a_part_of_the_documents_is_refused() {
    let mut network =
        one_document(answer("200 OK", "", "a: 1")).status(&format!("{BASE}/user-data"), "503 Busy");
    let message = http("http://a/{mac}", &mut network).unwrap_err();
    let start = format!("only a part was delivered: '{BASE}/user-data': status 503; waited ");
    assert!(message.starts_with(&start), "{message}");
}

#[test]
fn pinned_documents_must_be_the_listed_ones() {
    let list = |text: &str| format!("{}  meta-data\n", digest(text.as_bytes()));
    let pinned = |sums: &str| format!("http://a/{{mac}}#sha256={}", digest(sums.as_bytes()));
    let serving = |sums: &str| {
        one_document(answer("200 OK", "", "a: 1")).ok(&format!("{BASE}/SHA256SUMS"), sums)
    };
    let good = list("a: 1");
    let seed = http(&pinned(&good), &mut serving(&good)).unwrap().unwrap();
    assert_eq!(seed.meta_data.as_deref(), Some(&b"a: 1"[..]));

    let other = list("a: 2");
    let more = format!("{good}{}  user-data\n", digest(b""));
    for (sums, mut network, message) in [
        (
            &good,
            serving(&other),
            format!(
                "'{BASE}/SHA256SUMS': sha256: expected {}, found {}",
                digest(good.as_bytes()),
                digest(other.as_bytes())
            ),
        ),
        (
            &other,
            serving(&other),
            format!(
                "'{BASE}/meta-data': sha256 of 'meta-data': expected {}, found {}",
                digest(b"a: 2"),
                digest(b"a: 1")
            ),
        ),
        (
            &more,
            serving(&more),
            format!("'{BASE}/user-data': SHA256SUMS lists 'user-data', which is not there"),
        ),
        (
            &good,
            serving(&good).ok(&format!("{BASE}/user-data"), "x"),
            format!("'{BASE}/user-data': SHA256SUMS does not list 'user-data'"),
        ),
        (
            &good,
            one_document(answer("200 OK", "", "a: 1")),
            format!("'{BASE}/SHA256SUMS': not there, but the URL pins its digest"),
        ),
    ] {
        assert_eq!(http(&pinned(sums), &mut network).unwrap_err(), message);
    }
}

const EC2: &str = "http://169.254.169.254";

fn ec2() -> Fake {
    let at = |path: &str| format!("{EC2}/2018-09-24/{path}");
    Fake::default()
        .ok(&format!("{EC2}/latest/api/token"), "TOKEN==")
        .ok(&at("meta-data/instance-id"), "i-1\n")
        .ok(&at("meta-data/local-hostname"), "ip-10-0-0-1.ec2.internal")
        .ok(&at("meta-data/placement/availability-zone"), "eu-west-1a")
        .ok(&at("meta-data/public-keys/"), "0=admin\n")
        .ok(&at("meta-data/public-keys/0/openssh-key"), "ssh-ed25519 AAAA admin\n")
        .ok(&at("user-data"), "#cloud-config\n")
}

#[test]
fn ec2_is_asked_with_a_token_for_what_makes_a_host() {
    let mut network = ec2();
    let seed = ask(&Ask::Ec2, &mut network).unwrap().unwrap();
    assert_eq!(
        (seed.origin.as_str(), seed.dialect),
        ("ec2 'http://169.254.169.254/'", Dialect::Ec2)
    );
    let meta_data: serde_json::Value = serde_json::from_slice(&seed.meta_data.unwrap()).unwrap();
    assert_eq!(
        meta_data,
        serde_json::json!({
            "instance-id": "i-1",
            "local-hostname": "ip-10-0-0-1.ec2.internal",
            "availability-zone": "eu-west-1a",
            "public-keys": {"admin": "ssh-ed25519 AAAA admin"},
        })
    );
    assert_eq!(seed.user_data.as_deref(), Some(&b"#cloud-config\n"[..]));
    let requests = network.requests.borrow();
    assert!(requests[0].starts_with("PUT /latest/api/token HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("\r\nX-aws-ec2-metadata-token-ttl-seconds: 300\r\n"));
    for request in &requests[1..] {
        assert!(request.starts_with("GET /20"), "{request}");
        assert!(request.contains("\r\nX-aws-ec2-metadata-token: TOKEN==\r\n"), "{request}");
        assert!(!request.contains("credentials"), "{request}");
    }
}

#[test]
fn ec2_without_tokens_is_refused_and_its_ipv6_address_is_asked_too() {
    let token = format!("{EC2}/latest/api/token");
    let forbidden = Fake::default().status(&token, "403 Forbidden");
    for (mut network, message) in [
        (forbidden, format!("'{token}': the server does not allow it (403)")),
        (Fake::default(), format!("ec2: '{token}': no tokens (IMDSv2), and version 1 is not used")),
        (
            Fake::default().ok(&token, "a\r\nX: y"),
            "ec2: the token is not one word of visible characters".to_owned(),
        ),
        (
            ec2()
                .ok(&format!("{EC2}/2021-03-23/meta-data/instance-id"), "i-2")
                .ok(&format!("{EC2}/2021-03-23/meta-data/public-keys/"), "../x"),
            "ec2: public-keys: expected 'INDEX=NAME', found '../x'".to_owned(),
        ),
    ] {
        assert_eq!(ask(&Ask::Ec2, &mut network).unwrap_err(), message);
    }
    let six = "http://[fd00:ec2::254]";
    let mut network = Fake::default()
        .on(&token, Play::Hangs)
        .ok(&format!("{six}/latest/api/token"), "T")
        .ok(&format!("{six}/2021-03-23/meta-data/instance-id"), "i-6");
    let seed = ask(&Ask::Ec2, &mut network).unwrap().unwrap();
    assert_eq!(seed.origin, "ec2 'http://[fd00:ec2::254]/'");
}

const NOVA: &str = "http://169.254.169.254/openstack";

#[test]
fn openstack_delivers_what_a_config_drive_does() {
    let meta_data =
        r#"{"uuid": "u-1", "files": [{"path": "/etc/motd", "content_path": "/content/0000"}]}"#;
    let mut network = Fake::default()
        .ok(NOVA, "2012-08-10/\n2017-02-22\n2030-01-01\nlatest\n")
        .ok(&format!("{NOVA}/2017-02-22/meta_data.json"), meta_data)
        .ok(&format!("{NOVA}/2017-02-22/network_data.json"), "{}")
        .ok(&format!("{NOVA}/2017-02-22/vendor_data.json"), r#"{"a": 1}"#)
        .ok(&format!("{NOVA}/content/0000"), "hello");
    let seed = ask(&Ask::Openstack, &mut network).unwrap().unwrap();
    assert_eq!(
        (seed.origin.as_str(), seed.dialect),
        ("openstack 'http://169.254.169.254/openstack'", Dialect::Openstack)
    );
    assert_eq!(seed.meta_data.as_deref(), Some(meta_data.as_bytes()));
    assert_eq!(seed.network_config.as_deref(), Some(&b"{}"[..]));
    assert_eq!(
        (seed.files[0].path.as_str(), &*seed.files[0].content),
        ("/etc/motd", &b"hello"[..])
    );
    assert_eq!(
        seed.warnings,
        ["openstack 'http://169.254.169.254/openstack': vendor_data.json is not read"]
    );
    assert_eq!(ask(&Ask::Openstack, &mut Fake::default()), Ok(None));
}

#[test]
fn injected_files_come_from_their_folder_only() {
    for path in [
        "/../../etc/shadow",
        "/content/../x",
        "/content/",
        "/content/.x",
        "/content/a/b",
        "content/a%2fb",
        "/latest/x",
    ] {
        let meta_data = serde_json::json!({"uuid": "u", "files": [{"path": "/etc/motd", "content_path": path}]});
        let mut network = Fake::default()
            .ok(NOVA, "latest\n")
            .ok(&format!("{NOVA}/latest/meta_data.json"), meta_data.to_string());
        assert_eq!(
            ask(&Ask::Openstack, &mut network).unwrap_err(),
            format!(
                "openstack: meta_data.json: files[0].content_path: expected '/content/NAME', found '{path}'"
            )
        );
    }
}

#[test]
fn only_sources_with_somewhere_to_ask_are_asked() {
    let all = [Source::Http, Source::Nocloud, Source::Ec2, Source::Openstack];
    let ec2 = Dmi::read(|path| (path == "product_uuid").then(|| "ec2f".to_owned()));
    let nova = Dmi::read(|path| (path == "product_name").then(|| "OpenStack Nova".to_owned()));
    let none = Dmi::default();
    let url = Some("http://image/");
    for (command_line, url, seedfrom, dmi, expected) in [
        ("", None, None, &none, &[][..]),
        ("", url, None, &none, &[Source::Http]),
        ("kiln.url=http://a/", None, None, &none, &[Source::Http]),
        ("", None, Some("http://a/"), &none, &[Source::Http]),
        ("", url, None, &ec2, &[Source::Http, Source::Ec2]),
        ("", None, None, &nova, &[Source::Openstack]),
        ("ds=ec2", url, None, &none, &[Source::Ec2]),
        ("ds=OpenStack", url, None, &none, &[Source::Openstack]),
        ("ds=nocloud;s=http://x/", url, None, &ec2, &[Source::Http]),
        ("ds=none", url, None, &ec2, &[]),
        ("ds=ec2 ds=smbios", url, None, &ec2, &[]),
    ] {
        let Planned { asks, silent } = plan(&all, command_line, url, seedfrom, dmi).unwrap();
        let sources: Vec<Source> = asks.iter().map(Ask::source).collect();
        assert_eq!(sources, expected, "{command_line}");
        assert_eq!(asks.len() + silent.len(), 3);
    }
    let Planned { asks, .. } =
        plan(&[Source::Nocloud], "ds=ec2 kiln.url=http://a/", url, None, &ec2).unwrap();
    assert_eq!(asks, []);
    let Planned { asks, .. } =
        plan(&all, "kiln.url=http://line/", url, Some("http://s/"), &none).unwrap();
    assert_eq!(
        asks,
        [Ask::Http(Place::parse("http://line/", "kernel command line: 'kiln.url='").unwrap())]
    );
    let error = plan(&all, "kiln.url=ftp://a/", None, None, &none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kernel command line: 'kiln.url=': expected http://, found 'ftp://'"
    );
}

#[test]
fn local_seeds_are_not_taken_for_remote_ones() {
    for origin in ["nocloud medium 'vdb'", "smbios", "nocloud 'http://a/'", ""] {
        let seed = Seed { origin: origin.to_owned(), ..Seed::default() };
        assert_eq!(seed.server(), None, "{origin}");
    }
}

proptest! {
    #[test]
    fn any_service_is_understood_or_refused(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut network = Fake::default()
            .ok(NOVA, &body)
            .ok(&format!("{NOVA}/latest/meta_data.json"), &body)
            .ok(&format!("{EC2}/latest/api/token"), "T")
            .ok(&format!("{EC2}/2021-03-23/meta-data/instance-id"), &body)
            .ok(&format!("{EC2}/2021-03-23/meta-data/public-keys/"), &body);
        let _ = (ask(&Ask::Ec2, &mut network), ask(&Ask::Openstack, &mut network));
        let _ = plan(&[Source::Http], "", Some(&String::from_utf8_lossy(&body)), None, &Dmi::default());
    }
}
