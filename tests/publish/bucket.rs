// SPDX-License-Identifier: Apache-2.0
//! Publishing into a store that keeps what it gets, and does what a test says; and pulling it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use kiln::{
    digest::Digest,
    kubernetes::settings::Secret,
    publish::{Allowed, Ways},
    sys::credentials::Credentials,
};

use super::bench::{Bench, said, ways};
use crate::support::registry::{Fake, Reply, Request};

const TARGET: &str = "s3://images/quickstart/7";
const SECRET: &str = "a-secret-that-nobody-may-see";

#[derive(Debug, Clone, Default)]
struct Object {
    bytes: Vec<u8>,
    sha256: String,
    kind: String,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    /// By their names in a query.
    uploads: BTreeMap<String, (Object, BTreeMap<usize, Vec<u8>>)>,
    n_uploads: usize,
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let Some(key) = path.strip_prefix("/images/") else { return Reply::status(404) };
        let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
        if request.authorization.is_some()
            && header("x-amz-content-sha256") != Digest::of(&request.body).to_string()
        {
            return failed(400, "XAmzContentSHA256Mismatch");
        }
        let described = |bytes: Vec<u8>| Object {
            bytes,
            sha256: header("x-amz-meta-sha256"),
            kind: header("content-type"),
        };
        let query: BTreeMap<&str, &str> =
            query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let upload = query.get("uploadId").map(|id| (*id).to_owned());
        match (request.method.as_str(), upload) {
            ("POST", None) if query.contains_key("uploads") => {
                self.n_uploads += 1;
                let n = self.n_uploads;
                let upload = (described(Vec::new()), BTreeMap::new());
                self.uploads.insert(format!("a%2Fb%3D{n}"), upload);
                xml(&format!(
                    "<InitiateMultipartUploadResult><UploadId>a/b={n}</UploadId>\
                     </InitiateMultipartUploadResult>"
                ))
            }
            ("PUT", Some(id)) => match self.uploads.get_mut(&id) {
                None => failed(404, "NoSuchUpload"),
                Some((_, parts)) => {
                    let number = query["partNumber"].parse().unwrap();
                    parts.insert(number, request.body.clone());
                    Reply::status(200).with("ETag", &format!("\"part-{number}\""))
                }
            },
            ("POST", Some(id)) => {
                match self.uploads.remove(&id) {
                    None => failed(404, "NoSuchUpload"),
                    Some((object, parts)) => {
                        let text = String::from_utf8(request.body.clone()).unwrap();
                        let expected: String = parts
                        .keys()
                        .map(|n| format!("<Part><PartNumber>{n}</PartNumber><ETag>\"part-{n}\"</ETag></Part>"))
                        .collect();
                        assert_eq!(
                            text,
                            format!(
                                "<CompleteMultipartUpload>{expected}</CompleteMultipartUpload>"
                            )
                        );
                        let bytes = parts.into_values().flatten().collect();
                        self.objects.insert(key.to_owned(), Object { bytes, ..object });
                        xml(
                            "<CompleteMultipartUploadResult><ETag>&quot;1&quot;</ETag></CompleteMultipartUploadResult>",
                        )
                    }
                }
            }
            ("DELETE", Some(id)) => {
                self.uploads.remove(&id);
                Reply::status(204)
            }
            ("PUT", None) => {
                self.objects.insert(key.to_owned(), described(request.body.clone()));
                Reply::status(200)
            }
            ("DELETE", None) => {
                self.objects.remove(key);
                Reply::status(204)
            }
            _ => match self.objects.get(key) {
                Some(object) => Reply::ok(&object.kind, object.bytes.clone())
                    .with("x-amz-meta-sha256", &object.sha256),
                None => failed(404, "NoSuchKey"),
            },
        }
    }
}

fn xml(text: &str) -> Reply {
    Reply::ok("application/xml", format!("<?xml version=\"1.0\"?>\n{text}"))
}

fn failed(status: u16, code: &str) -> Reply {
    Reply::status(status)
        .body(format!("<Error><Code>{code}</Code><AWSAccessKeyId>x</AWSAccessKeyId></Error>"))
}

/// A store in which `fault` comes first.
fn store(
    fault: impl Fn(&Request, &mut State) -> Option<Reply> + Send + Sync + 'static,
) -> (Fake, Arc<Mutex<State>>) {
    let state = Arc::<Mutex<State>>::default();
    let shared = state.clone();
    let fake = Fake::start(move |request, _| {
        let mut state = shared.lock().unwrap();
        fault(request, &mut state).unwrap_or_else(|| state.answer(request))
    });
    (fake, state)
}

fn somebody(fake: &Fake) -> Ways {
    let credentials = Credentials {
        access_key_id: Some("AKIAEXAMPLE".to_owned()),
        secret_access_key: Some(Secret::new(SECRET)),
        ..Credentials::default()
    };
    ways(Some(&format!("http://{}", fake.host())), credentials)
}

fn anybody(fake: &Fake) -> Ways {
    ways(Some(&format!("http://{}", fake.host())), Credentials::default())
}

/// Which objects were written, and how, in that order.
fn writes(log: &[Request]) -> Vec<String> {
    let is_write = |it: &&Request| !["GET", "HEAD"].contains(&it.method.as_str());
    let name = |path: &str| path.strip_prefix("/images/quickstart/7/").unwrap().to_owned();
    log.iter().filter(is_write).map(|it| format!("{} {}", it.method, name(&it.path))).collect()
}

#[test]
fn a_release_lies_as_a_web_server_would_have_it_and_its_sums_come_last() {
    let bench = Bench::new();
    bench.build("node", "7", 0);
    let (fake, state) = store(|_, _| None);
    let names = bench.publish(&somebody(&fake), TARGET, &["lb", "node"]).unwrap();
    assert_eq!(names, ["s3://images/quickstart/7/lb/", "s3://images/quickstart/7/node/"]);
    let objects = state.lock().unwrap().objects.clone();
    for role in ["lb", "node"] {
        for (file, bytes) in bench.files("out", role) {
            let object = &objects[&format!("quickstart/7/{role}/{file}")];
            assert_eq!(object.bytes, bytes, "{file}");
            assert_eq!(object.sha256, Digest::of(&bytes).to_string());
        }
    }
    assert_eq!(objects["quickstart/7/lb/manifest.json"].kind, "application/json");
    assert_eq!(objects["quickstart/7/lb/SHA256SUMS"].kind, "text/plain");
    let log = fake.log();
    let all = writes(&log);
    assert_eq!(all[all.len() - 2..], ["PUT lb/SHA256SUMS", "PUT node/SHA256SUMS"]);
    assert!(log.iter().all(|it| {
        it.authorization.as_deref().is_some_and(|it| {
            it.starts_with("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")
                && it.contains("/us-east-1/s3/aws4_request,SignedHeaders=")
        })
    }));
    assert!(!format!("{log:?}").contains(SECRET));
    for role in ["lb", "node"] {
        bench.pull(&somebody(&fake), TARGET, role).unwrap();
        bench.assert_pulled(role);
    }
}

#[test]
fn what_is_there_is_not_sent_again_and_what_is_something_else_is() {
    let bench = Bench::new();
    let (fake, state) = store(|_, _| None);
    bench.publish(&somebody(&fake), TARGET, &["lb"]).unwrap();
    fake.log();
    bench.publish(&somebody(&fake), TARGET, &["lb"]).unwrap();
    assert_eq!(writes(&fake.log()), ["PUT lb/SHA256SUMS"]);
    // A run that was stopped, and somebody's file under one of the names.
    let mut locked = state.lock().unwrap();
    locked.objects.remove("quickstart/7/lb/SHA256SUMS");
    locked.objects.get_mut("quickstart/7/lb/lb.ipxe").unwrap().sha256.clear();
    drop(locked);
    bench.publish(&somebody(&fake), TARGET, &["lb"]).unwrap();
    assert_eq!(writes(&fake.log()), ["PUT lb/lb.ipxe", "PUT lb/SHA256SUMS"]);
}

#[test]
fn a_large_file_goes_up_in_parts_and_a_lost_one_is_sent_again() {
    let bench = Bench::new();
    let n = AtomicUsize::new(0);
    let (fake, state) = store(move |request, _| {
        let is_second = request.path.contains("partNumber=2") && n.fetch_add(1, Relaxed) == 0;
        is_second.then(Reply::hang_up)
    });
    bench.publish(&somebody(&fake), TARGET, &["lb"]).unwrap();
    let log = fake.log();
    let raw = "lb/quickstart-lb.raw";
    let parts: Vec<String> = writes(&log).into_iter().filter(|it| it.contains(raw)).collect();
    let part = |n: u32| format!("PUT {raw}?partNumber={n}&uploadId=a%2Fb%3D1");
    let expected = [
        format!("POST {raw}?uploads="),
        part(1),
        part(2),
        part(2),
        part(3),
        format!("POST {raw}?uploadId=a%2Fb%3D1"),
    ];
    assert_eq!(parts, expected);
    assert!(state.lock().unwrap().uploads.is_empty());
    bench.pull(&anybody(&fake), TARGET, "lb").unwrap();
    bench.assert_pulled("lb");
    assert!(fake.log().iter().all(|request| request.authorization.is_none()));
}

#[test]
fn a_store_that_says_at_last_that_it_failed_is_believed() {
    let bench = Bench::new();
    let n = AtomicUsize::new(0);
    let is_close = |it: &Request| it.method == "POST" && it.path.contains("uploadId=");
    let (fake, _state) = store(move |request, _| {
        let is_first = is_close(request) && n.fetch_add(1, Relaxed) == 0;
        is_first.then(|| failed(200, "InternalError"))
    });
    bench.publish(&somebody(&fake), TARGET, &["lb"]).unwrap();

    let (fake, state) =
        store(move |request, _| is_close(request).then(|| failed(200, "InternalError")));
    let report = said(bench.publish(&somebody(&fake), TARGET, &["lb"]), &fake.host());
    let fact = "is out of reach: it could not put the parts together (5 tries)";
    assert!(report.contains(fact), "{report}");
    let state = state.lock().unwrap();
    assert!(!state.objects.contains_key("quickstart/7/lb/SHA256SUMS"));
    assert!(state.uploads.is_empty(), "the parts are left");

    drop(state);
    // It was done, and the answer was lost.
    let n = AtomicUsize::new(0);
    let (fake, _state) = store(move |request, state| {
        let is_first = is_close(request) && n.fetch_add(1, Relaxed) == 0;
        is_first.then(|| {
            state.answer(request);
            Reply::hang_up()
        })
    });
    bench.publish(&somebody(&fake), TARGET, &["lb"]).unwrap();
    bench.pull(&somebody(&fake), TARGET, "lb").unwrap();
    bench.assert_pulled("lb");
}

#[test]
fn a_damaged_result_is_never_published() {
    for file in ["lb/quickstart-lb.raw", "lb/lb.ipxe"] {
        let bench = Bench::new();
        bench.damage(file);
        let (fake, state) = store(|_, _| None);
        let report = said(bench.publish(&somebody(&fake), TARGET, &["lb"]), &fake.host());
        let name = file.split('/').next_back().unwrap();
        let expected = format!("cause: '{name}' is damaged: SHA256SUMS has sha256 ");
        assert!(report.contains(&expected), "{report}");
        let state = state.lock().unwrap();
        assert!(!state.objects.contains_key(&format!("quickstart/7/{file}")));
        assert!(!state.objects.contains_key("quickstart/7/lb/SHA256SUMS"));
        assert!(state.uploads.is_empty(), "the parts are left");
    }
}

#[test]
fn another_release_gives_way_as_a_whole_and_only_when_a_person_says_so() {
    let bench = Bench::new();
    let (fake, state) = store(|_, _| None);
    bench.publish(&somebody(&fake), TARGET, &["lb"]).unwrap();
    bench.build("lb", "8", 0);
    let report = said(bench.publish(&somebody(&fake), TARGET, &["lb"]), &fake.host());
    assert_eq!(
        report,
        "error: publishing 'lb'\n\
         cause: 's3://images/quickstart/7/lb/' is another release\n\
         help:  name a target with the new version in it, or say --replace"
    );
    fake.log();
    let allowed = Allowed { replace: true, ..Allowed::default() };
    bench.publish_as(&somebody(&fake), TARGET, &["lb"], allowed).unwrap();
    let all = writes(&fake.log());
    assert_eq!(all.first().unwrap(), "DELETE lb/SHA256SUMS");
    assert_eq!(all.last().unwrap(), "PUT lb/SHA256SUMS");
    drop(state);
    bench.pull(&somebody(&fake), TARGET, "lb").unwrap();
    bench.assert_pulled("lb");
}

#[test]
fn a_refusal_has_the_store_s_word_for_it_and_nothing_else_of_its_answer() {
    let bench = Bench::new();
    let (fake, _state) = store(|_, _| Some(failed(403, "SignatureDoesNotMatch")));
    let report = said(bench.publish(&somebody(&fake), TARGET, &["lb"]), &fake.host());
    assert!(report.contains("answers 403 Forbidden"), "{report}");
    assert!(report.contains("help:  check the credentials and what they allow: "), "{report}");
    assert!(!report.contains("AWSAccessKeyId") && !report.contains(SECRET), "{report}");
    let (fake, _state) =
        store(|request, _| (request.method == "PUT").then(|| failed(403, "AccessDenied")));
    let report = said(bench.publish(&somebody(&fake), TARGET, &["lb"]), &fake.host());
    assert!(report.contains("answers 403 Forbidden (AccessDenied)\n"), "{report}");
}

#[test]
fn what_is_signed_follows_no_redirect() {
    let bench = Bench::new();
    let elsewhere = Fake::start(|_, _| Reply::status(404));
    let other = elsewhere.host();
    let (fake, _state) = store(move |request, _| {
        Some(Reply::status(307).with("Location", &format!("http://{other}{}", request.path)))
    });
    let report = said(bench.publish(&somebody(&fake), TARGET, &["lb"]), &fake.host());
    assert!(report.contains("\nhelp:  "), "{report}");
    assert!(elsewhere.log().is_empty());
}

#[test]
fn names_that_no_store_should_give_are_refused() {
    let bench = Bench::new();
    for (text, expected) in [
        ("<UploadId></UploadId>", "answers without 'UploadId'"),
        ("<html>", "answers without 'UploadId'"),
    ] {
        let (fake, _state) =
            store(move |request, _| request.path.contains("uploads=").then(|| xml(text)));
        let report = said(bench.publish(&somebody(&fake), TARGET, &["lb"]), &fake.host());
        assert!(report.contains(expected), "{report}");
    }
    for tag in ["", "\"<Part>\"", "a b"] {
        let (fake, state) = store(move |request, _| {
            request.path.contains("partNumber=").then(|| Reply::status(200).with("ETag", tag))
        });
        let report = said(bench.publish(&somebody(&fake), TARGET, &["lb"]), &fake.host());
        assert!(report.contains("answers without 'ETag'"), "{report}");
        assert!(state.lock().unwrap().uploads.is_empty(), "the parts are left");
    }
}

#[test]
fn half_a_release_is_none() {
    let bench = Bench::new();
    let (fake, state) = store(|_, _| None);
    bench.publish(&somebody(&fake), TARGET, &["lb"]).unwrap();
    state.lock().unwrap().objects.get_mut("quickstart/7/lb/lb.ipxe").unwrap().bytes[0] ^= 1;
    let report = said(bench.pull(&somebody(&fake), TARGET, "lb"), &fake.host());
    assert!(report.starts_with("error: pulling 'lb.ipxe'\ncause: sha256 differs"), "{report}");
    assert!(!bench.path("pulled/lb").exists());
    state.lock().unwrap().objects.remove("quickstart/7/lb/SHA256SUMS");
    let report = said(bench.pull(&somebody(&fake), TARGET, "lb"), &fake.host());
    assert!(report.contains("there is no release at 's3://images/quickstart/7/lb/'"), "{report}");
}
