// SPDX-License-Identifier: Apache-2.0
//! Publishing into a registry that keeps what it gets, and does what a test says.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kiln::{
    digest::Digest,
    kubernetes::settings::Secret,
    publish::{ARTIFACT_TYPE, Allowed, Ways},
    sys::credentials::Credentials,
};
use serde_json::Value;

use super::bench::{Bench, said, ways};
use crate::support::registry::{Fake, MANIFEST, Reply, Request, digest};

/// What a registry has.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) blobs: BTreeMap<String, Vec<u8>>,
    pub(super) manifests: BTreeMap<String, Vec<u8>>,
    pub(super) uploads: BTreeMap<String, Vec<u8>>,
    n_uploads: usize,
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let name = path.rsplit('/').next().unwrap().to_owned();
        match request.method.as_str() {
            "HEAD" | "GET" if path.starts_with("/v2/os/manifests/") => {
                found(MANIFEST, self.manifests.get(&name))
            }
            "PUT" if path.starts_with("/v2/os/manifests/") => {
                self.manifests.insert(name, request.body.clone());
                Reply::status(201)
            }
            "HEAD" | "GET" if name.starts_with("sha256:") => {
                found("application/octet-stream", self.blobs.get(&name))
            }
            "POST" if path == "/v2/os/blobs/uploads/" => {
                self.n_uploads += 1;
                let id = format!("u{}", self.n_uploads);
                self.uploads.insert(id.clone(), Vec::new());
                Reply::status(202).with("Location", &place(&id))
            }
            _ => match self.uploads.get_mut(&name) {
                None => Reply::status(404),
                Some(upload) => {
                    let reply = add(upload, request);
                    match request.method.as_str() {
                        "PUT" => self.close(&name, query),
                        "DELETE" => {
                            self.uploads.remove(&name);
                            Reply::status(204)
                        }
                        _ => reply,
                    }
                }
            },
        }
    }

    fn close(&mut self, id: &str, query: &str) -> Reply {
        let upload = self.uploads.remove(id).unwrap();
        let wanted = query.split('&').find_map(|pair| pair.strip_prefix("digest=")).unwrap();
        if wanted != digest(&upload) {
            return Reply::status(400).body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
        }
        self.blobs.insert(wanted.to_owned(), upload);
        Reply::status(201)
    }
}

/// A session's address has a part that changes nothing and must come back.
fn place(id: &str) -> String {
    format!("/v2/os/blobs/uploads/{id}?_state=x%3D")
}

fn found(kind: &str, bytes: Option<&Vec<u8>>) -> Reply {
    bytes.map_or(Reply::status(404), |bytes| Reply::ok(kind, bytes.clone()))
}

/// A chunk, or the state of a session.
fn add(upload: &mut Vec<u8>, request: &Request) -> Reply {
    let start = request.headers.get("content-range").map(|it| it.split('-').next().unwrap());
    if start.is_some_and(|start| start.parse() != Ok(upload.len())) {
        return Reply::status(416);
    }
    upload.extend(&request.body);
    let id = request.path.split('?').next().unwrap().rsplit('/').next().unwrap();
    let range = format!("0-{}", upload.len().saturating_sub(1));
    let status = if request.method == "GET" { 204 } else { 202 };
    Reply::status(status).with("Location", &place(id)).with("Range", &range)
}

/// A registry in which `fault` comes first; it also gets the server's `HOST:PORT`.
pub(super) fn registry(
    fault: impl Fn(&Request, &mut State, &str) -> Option<Reply> + Send + Sync + 'static,
) -> (Fake, Arc<Mutex<State>>) {
    let state = Arc::<Mutex<State>>::default();
    let shared = state.clone();
    let fake = Fake::start(move |request, host| {
        let mut state = shared.lock().unwrap();
        fault(request, &mut state, host).unwrap_or_else(|| state.answer(request))
    });
    (fake, state)
}

pub(super) fn anybody() -> Ways {
    ways(None, Credentials::default())
}

pub(super) fn target(fake: &Fake) -> String {
    format!("oci://{}/os:7", fake.host())
}

fn steps(log: &[Request]) -> Vec<String> {
    log.iter().map(|it| format!("{} {}", it.method, it.path.split('?').next().unwrap())).collect()
}

/// Whether `text` is in anything that a client sent.
fn is_sent(log: &[Request], text: &str) -> bool {
    format!("{log:?}").contains(text)
}

#[test]
fn roles_get_a_tag_each_after_all_their_files() {
    let bench = Bench::new();
    bench.build("node", "7", 0);
    let (fake, state) = registry(|_, _, _| None);
    let names = bench.publish(&anybody(), &target(&fake), &["lb", "node"]).unwrap();
    let state = state.lock().unwrap();
    for (role, name) in ["lb", "node"].iter().zip(&names) {
        let manifest = &state.manifests[&format!("7-{role}")];
        let expected = format!("oci://{}/os:7-{role}@{}", fake.host(), digest(manifest));
        assert_eq!(*name, expected);
        let json: Value = serde_json::from_slice(manifest).unwrap();
        assert_eq!(json["artifactType"], ARTIFACT_TYPE);
        let layers = json["layers"].as_array().unwrap();
        let title = |it: &Value| it["annotations"]["org.opencontainers.image.title"].clone();
        let names: Vec<Value> = layers.iter().map(title).collect();
        let mut expected: Vec<String> = bench.files("out", role).into_keys().collect();
        expected.retain(|name| name != "SHA256SUMS");
        expected.push("SHA256SUMS".to_owned());
        assert_eq!(names, expected);
        for (file, bytes) in bench.files("out", role) {
            assert_eq!(state.blobs[&digest(&bytes)], bytes, "{file}");
        }
    }
    assert!(state.uploads.is_empty());
    let log = steps(&fake.log());
    let first_tag = log.iter().position(|step| step.starts_with("PUT /v2/os/manifests/")).unwrap();
    // After it comes what describes the other role, and no file.
    let later = log[first_tag..].iter().filter(|step| step.starts_with("PATCH ")).count();
    assert_eq!(later, 0, "{log:?}");
}

#[test]
fn what_is_there_is_not_sent_again() {
    let bench = Bench::new();
    let (fake, _state) = registry(|_, _, _| None);
    let first = bench.publish(&anybody(), &target(&fake), &["lb"]).unwrap();
    fake.log();
    assert_eq!(bench.publish(&anybody(), &target(&fake), &["lb"]).unwrap(), first);
    let log = steps(&fake.log());
    assert!(!log.iter().any(|step| step.contains("/uploads/")), "{log:?}");
}

#[test]
fn a_chunk_that_was_lost_on_its_way_is_continued_where_the_registry_has_it() {
    let bench = Bench::new();
    let n_patches = AtomicUsize::new(0);
    let (fake, state) = registry(move |request, state, _| {
        let is_second = request.method == "PATCH" && n_patches.fetch_add(1, Relaxed) == 1;
        is_second.then(|| {
            let upload = state.uploads.values_mut().find(|upload| upload.len() == 1000).unwrap();
            upload.extend(&request.body[..300]);
            Reply::hang_up()
        })
    });
    bench.publish(&anybody(), &target(&fake), &["lb"]).unwrap();
    let log = fake.log();
    let ranges: Vec<&str> =
        log.iter().filter_map(|it| Some(it.headers.get("content-range")?.as_str())).collect();
    assert_eq!(ranges, ["0-999", "1000-1999", "1300-1999", "2000-2499"]);
    assert_eq!(state.lock().unwrap().manifests.len(), 1);
}

#[test]
fn a_registry_that_cannot_say_what_it_has_gets_the_blob_from_its_beginning() {
    let bench = Bench::new();
    let n_patches = AtomicUsize::new(0);
    // As Debian's does: a session that was cut is gone.
    let (fake, state) = registry(move |request, state, _| {
        let is_second = request.method == "PATCH" && n_patches.fetch_add(1, Relaxed) == 1;
        is_second.then(|| {
            state.uploads.clear();
            Reply::hang_up()
        })
    });
    bench.publish(&anybody(), &target(&fake), &["lb"]).unwrap();
    let log = fake.log();
    let ranges: Vec<&str> =
        log.iter().filter_map(|it| Some(it.headers.get("content-range")?.as_str())).collect();
    assert_eq!(ranges, ["0-999", "1000-1999", "0-999", "1000-1999", "2000-2499"]);
    assert_eq!(state.lock().unwrap().manifests.len(), 1);
}

#[test]
fn a_registry_that_takes_no_chunks_gets_the_blob_at_once() {
    let bench = Bench::new();
    let (fake, state) =
        registry(|request, _, _| (request.method == "PATCH").then(|| Reply::status(405)));
    bench.publish(&anybody(), &target(&fake), &["lb"]).unwrap();
    let state = state.lock().unwrap();
    let raw = &bench.files("out", "lb")["quickstart-lb.raw"];
    assert_eq!(state.blobs[&digest(raw)], *raw);
    let log = fake.log();
    assert!(log.iter().any(|it| it.method == "PUT" && it.body.len() == 2500));
}

#[test]
fn what_passes_is_tried_again_and_what_does_not_leaves_no_tag() {
    let bench = Bench::new();
    let n = AtomicUsize::new(0);
    let (fake, state) = registry(move |request, _, _| {
        let is_seventh = n.fetch_add(1, Relaxed) % 7 == 6;
        (is_seventh && request.method != "DELETE").then(|| Reply::status(503))
    });
    bench.publish(&anybody(), &target(&fake), &["lb"]).unwrap();
    assert_eq!(state.lock().unwrap().manifests.len(), 1);

    let (fake, state) =
        registry(|request, _, _| (request.method == "PUT").then(|| Reply::status(503)));
    let report = said(bench.publish(&anybody(), &target(&fake), &["lb"]), &fake.host());
    assert!(report.starts_with("error: publishing '"), "{report}");
    let reason =
        "is out of reach: it answers 503 Service Unavailable (5 tries)\nhelp:  check the network";
    assert!(report.contains(reason), "{report}");
    assert!(state.lock().unwrap().manifests.is_empty());
}

#[test]
fn an_answer_that_was_lost_is_found_out_by_asking() {
    let bench = Bench::new();
    let (fake, state) = registry(|request, state, _| {
        let path = request.path.split('?').next().unwrap();
        let session = path.rsplit_once("/uploads/").map(|(_, session)| session);
        // Once it is closed the registry knows it no more, and says so.
        let is_open = session.is_some_and(|it| state.uploads.contains_key(it));
        (is_open && request.method == "PUT").then(|| {
            state.answer(request);
            Reply::hang_up()
        })
    });
    bench.publish(&anybody(), &target(&fake), &["lb"]).unwrap();
    assert_eq!(state.lock().unwrap().manifests.len(), 1);
}

#[test]
fn a_damaged_result_is_never_published() {
    for file in ["lb/quickstart-lb.raw", "lb/lb.ipxe"] {
        let bench = Bench::new();
        bench.damage(file);
        let (fake, state) = registry(|_, _, _| None);
        let report = said(bench.publish(&anybody(), &target(&fake), &["lb"]), &fake.host());
        let name = file.split('/').next_back().unwrap();
        let expected = format!("cause: '{name}' is damaged: SHA256SUMS has sha256 ");
        assert!(report.contains(&expected), "{report}");
        assert!(
            report.ends_with("help:  nothing of it was published; build the role again"),
            "{report}"
        );
        let state = state.lock().unwrap();
        assert!(state.manifests.is_empty());
        let damaged = &bench.files("out", "lb")[name];
        assert!(!state.blobs.contains_key(&digest(damaged)));
        assert!(!state.uploads.values().any(|upload| upload.len() == damaged.len()));
    }
    // Nor by a registry that takes no chunks.
    let bench = Bench::new();
    bench.damage("lb/quickstart-lb.raw");
    let (fake, state) =
        registry(|request, _, _| (request.method == "PATCH").then(|| Reply::status(405)));
    let report = said(bench.publish(&anybody(), &target(&fake), &["lb"]), &fake.host());
    assert!(report.contains("'quickstart-lb.raw' is damaged: "), "{report}");
    assert!(state.lock().unwrap().manifests.is_empty());
    bench.damage("lb/manifest.json");
    let report = said(bench.publish(&anybody(), &target(&fake), &["lb"]), &fake.host());
    assert!(report.contains("'manifest.json' is not what 'SHA256SUMS' names: "), "{report}");
}

#[test]
fn a_release_changes_under_its_name_only_when_a_person_says_so() {
    let bench = Bench::new();
    let (fake, state) = registry(|_, _, _| None);
    bench.publish(&anybody(), &target(&fake), &["lb"]).unwrap();
    let first = state.lock().unwrap().manifests["7-lb"].clone();
    bench.build("lb", "8", 0);
    let report = said(bench.publish(&anybody(), &target(&fake), &["lb"]), &fake.host());
    assert_eq!(
        report,
        "error: publishing 'lb'\n\
         cause: 'oci://HOST/os:7-lb' is another release\n\
         help:  name a target with the new version in it, or say --replace"
    );
    assert_eq!(state.lock().unwrap().manifests["7-lb"], first);
    let allowed = Allowed { replace: true, ..Allowed::default() };
    bench.publish_as(&anybody(), &target(&fake), &["lb"], allowed).unwrap();
    assert_ne!(state.lock().unwrap().manifests["7-lb"], first);

    // Somebody's container image.
    state.lock().unwrap().manifests.insert("7-lb".to_owned(), b"{}".to_vec());
    let report = said(bench.publish(&anybody(), &target(&fake), &["lb"]), &fake.host());
    assert!(
        report.contains("'oci://HOST/os:7-lb' is something else: it is no manifest"),
        "{report}"
    );
}

#[test]
fn an_image_with_secrets_goes_nowhere_unless_a_person_says_so() {
    let bench = Bench::empty();
    bench.build("master", "7", 3);
    let (fake, state) = registry(|_, _, _| None);
    let report = said(bench.publish(&anybody(), &target(&fake), &["master"]), &fake.host());
    assert_eq!(
        report,
        "error: publishing 'master'\n\
         cause: its image holds 3 secrets, which everybody who can read the target gets\n\
         help:  build it with 'pki.delivery: seed', or, if the target is closed to others, say --with-secrets"
    );
    assert!(fake.log().is_empty() && state.lock().unwrap().blobs.is_empty());
    let allowed = Allowed { secrets: true, ..Allowed::default() };
    bench.publish_as(&anybody(), &target(&fake), &["master"], allowed).unwrap();
}

#[test]
fn roles_of_different_versions_are_not_one_release() {
    let bench = Bench::new();
    bench.build("node", "8", 0);
    let (fake, _state) = registry(|_, _, _| None);
    let report = said(bench.publish(&anybody(), &target(&fake), &["lb", "node"]), &fake.host());
    assert_eq!(
        report,
        "error: publishing\n\
         cause: 'lb' is version '7' of 'quickstart', 'node' is version '8' of 'quickstart'\n\
         help:  build all roles, or name those that belong together"
    );
    assert!(fake.log().is_empty());
}

const TOKEN: &str = "a-token-that-nobody-may-see";
const PASSWORD: &str = "a-password-that-nobody-may-see";

fn somebody(host: &str) -> Ways {
    let auth = STANDARD.encode(format!("me:{PASSWORD}"));
    let config = format!(r#"{{"auths":{{"{host}":{{"auth":"{auth}"}}}}}}"#);
    let docker_config = Some(("config.json".into(), Secret::new(config)));
    ways(None, Credentials { docker_config, ..Credentials::default() })
}

/// A registry that gives a token to whoever has the password.
fn with_tokens(request: &Request, host: &str) -> Option<Reply> {
    let basic = format!("Basic {}", STANDARD.encode(format!("me:{PASSWORD}")));
    let given = request.authorization.as_deref();
    if request.path.starts_with("/token?") {
        let scope = "scope=repository:os:pull%2Cpush";
        return Some(match given == Some(&basic) && request.path.contains(scope) {
            true => Reply::ok("application/json", format!(r#"{{"token":"{TOKEN}"}}"#)),
            false => Reply::status(403),
        });
    }
    (given != Some(&format!("Bearer {TOKEN}"))).then(|| {
        let challenge = format!(r#"Bearer realm="http://{host}/token""#);
        Reply::status(401).with("WWW-Authenticate", &challenge)
    })
}

#[test]
fn a_password_opens_a_registry_by_a_token_or_by_itself_and_is_never_told() {
    let bench = Bench::new();
    let (fake, state) = registry(|request, _, host| with_tokens(request, host));
    bench.publish(&somebody(&fake.host()), &target(&fake), &["lb"]).unwrap();
    assert_eq!(state.lock().unwrap().manifests.len(), 1);
    let log = fake.log();
    assert_eq!(log.iter().filter(|it| it.path.starts_with("/token?")).count(), 1);

    let report = said(bench.publish(&anybody(), &target(&fake), &["lb"]), &fake.host());
    assert!(report.contains("/token?scope=repository:os:pull%2Cpush' answers 403"), "{report}");
    assert!(report.contains("help:  check the credentials and what they allow: "), "{report}");
    assert!(!report.contains(PASSWORD) && !report.contains(TOKEN));

    let (fake, state) = registry(|request, _, _| {
        let basic = format!("Basic {}", STANDARD.encode(format!("me:{PASSWORD}")));
        (request.authorization != Some(basic))
            .then(|| Reply::status(401).with("WWW-Authenticate", r#"Basic realm="x""#))
    });
    bench.publish(&somebody(&fake.host()), &target(&fake), &["lb"]).unwrap();
    assert_eq!(state.lock().unwrap().manifests.len(), 1);
    let report = said(bench.publish(&anybody(), &target(&fake), &["lb"]), &fake.host());
    assert!(report.contains("'HOST' answers 401 Unauthorized and offers no token"), "{report}");
    assert!(!format!("{:?}", somebody("a")).contains(&STANDARD.encode(format!("me:{PASSWORD}"))));
}

#[test]
fn an_upload_on_another_host_gets_no_token() {
    let bench = Bench::new();
    let elsewhere = Fake::start(|request, _| match request.method.as_str() {
        "PUT" => Reply::status(201),
        _ => Reply::status(202).with("Location", &request.path),
    });
    let other = elsewhere.host();
    let (fake, state) = registry(move |request, state, host| {
        with_tokens(request, host).or_else(|| {
            let path = request.path.clone();
            (request.method == "POST").then(|| {
                // What goes there is here at once, so that the registry has it.
                for (_, bytes) in Bench::new().files("out", "lb") {
                    state.blobs.insert(digest(&bytes), bytes);
                }
                Reply::status(202).with("Location", &format!("http://{other}{path}x"))
            })
        })
    });
    bench.publish(&somebody(&fake.host()), &target(&fake), &["lb"]).unwrap();
    let log = elsewhere.log();
    assert!(!log.is_empty() && log.iter().all(|request| request.authorization.is_none()));
    assert!(!is_sent(&log, TOKEN) && !is_sent(&log, PASSWORD));
    assert_eq!(state.lock().unwrap().manifests.len(), 1);
}

#[test]
fn what_no_registry_should_say_is_refused() {
    let bench = Bench::new();
    let with = |status: u16, name: &'static str, value: &'static str, body: &'static str| {
        let (fake, state) = registry(move |request, _, _| {
            (request.method == "POST").then(|| {
                let reply = Reply::status(status).body(body);
                if name.is_empty() { reply } else { reply.with(name, value) }
            })
        });
        let report = said(bench.publish(&anybody(), &target(&fake), &["lb"]), &fake.host());
        assert!(state.lock().unwrap().manifests.is_empty());
        report
    };
    let report = with(202, "", "", "");
    let fact = "cause: 'HOST' wants an upload to go on at no address with https\n";
    assert!(report.contains(fact), "{report}");
    for place in ["ftp://a.example/", "http://me:x@127.0.0.1/", "//127.0.0.1/", "x y"] {
        assert!(with(202, "Location", place, "").contains(fact), "{place}");
    }
    let report = with(307, "Location", "http://127.0.0.1:1/", "");
    let fact =
        "'http://HOST/v2/os/blobs/uploads/' answers 307 Temporary Redirect and leads elsewhere";
    assert!(report.contains(fact), "{report}");
    let denied = r#"{"errors":[{"code":"DENIED","message":"hunter2 is no password"}]}"#;
    let report = with(403, "", "", denied);
    assert!(report.contains("answers 403 Forbidden (DENIED)\n"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
    let report = with(400, "", "", "{\"code\":\"<script>\u{1b}[2J\"}");
    assert!(report.contains("answers 400 Bad Request\n"), "{report}");
}

#[test]
fn a_registry_that_forgets_what_it_got_is_found_out() {
    let bench = Bench::new();
    let (fake, _state) = registry(|request, _, _| {
        let is_tag = request.method == "PUT" && request.path.contains("/manifests/");
        is_tag.then(|| Reply::status(201))
    });
    let report = said(bench.publish(&anybody(), &target(&fake), &["lb"]), &fake.host());
    assert!(report.contains("is not what was just written there\nhelp:  see whether"), "{report}");
    // A blob of another size is none.
    let raw = bench.files("out", "lb")["quickstart-lb.raw"].clone();
    let name = format!("sha256:{}", Digest::of(&raw));
    let (fake, state) = registry(move |request, _, _| {
        let is_it = request.method == "HEAD" && request.path.ends_with(&name);
        is_it.then(|| Reply::ok("application/octet-stream", "x"))
    });
    bench.publish(&anybody(), &target(&fake), &["lb"]).unwrap();
    assert_eq!(state.lock().unwrap().blobs[&digest(&raw)], raw);
}
