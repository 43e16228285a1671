// SPDX-License-Identifier: Apache-2.0
//! The program, and an S3-compatible server that is not ours: moto, which checks every signature
//! with Amazon's own library. `make test-publish` installs it.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use kiln::digest::Digest;

use super::{
    bench::Bench,
    real::{done, kiln, large, refused},
};

/// Where `make test-publish` puts it.
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/moto/bin/moto_server");

/// The server. It ends with the test.
struct Moto {
    child: Child,
    host: String,
    access_key: String,
    secret_key: String,
}

impl Moto {
    fn start() -> Self {
        assert!(Path::new(SERVER).exists(), "there is no '{SERVER}': run 'make test-publish'");
        // It can be told a port, and does not tell one that it chose.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new(SERVER)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let is_up = log.any(|line| line.unwrap().contains("Running on"));
        assert!(is_up, "it ended at once");
        thread::spawn(move || log.for_each(drop));
        let host = format!("127.0.0.1:{port}");
        let mut moto = Self { child, host, access_key: String::new(), secret_key: String::new() };
        moto.bucket();
        (moto.access_key, moto.secret_key) = moto.user();
        moto.check_from_now();
        moto
    }

    fn bucket(&self) {
        let url = format!("http://{}/images", self.host);
        let answer = ureq::put(&url).header("Authorization", &authorization("s3")).send_empty();
        assert_eq!(answer.unwrap().status(), 200);
    }

    /// A user who may do everything with this bucket, and its keys.
    fn user(&self) -> (String, String) {
        self.iam("Action=CreateUser&UserName=me");
        let policy = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A\
                      %22Allow%22%2C%22Action%22%3A%22s3%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
        self.iam(&format!(
            "Action=PutUserPolicy&UserName=me&PolicyName=all&PolicyDocument={policy}"
        ));
        let text = self.iam("Action=CreateAccessKey&UserName=me");
        let word = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>")).unwrap();
            rest.split('<').next().unwrap().to_owned()
        };
        (word("AccessKeyId"), word("SecretAccessKey"))
    }

    fn iam(&self, form: &str) -> String {
        let answer = ureq::post(format!("http://{}/", self.host))
            .header("Authorization", &authorization("iam"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .send(format!("{form}&Version=2010-05-08"));
        answer.unwrap().body_mut().read_to_string().unwrap()
    }

    /// No more requests without a good signature.
    fn check_from_now(&self) {
        let url = format!("http://{}/moto-api/reset-auth", self.host);
        assert_eq!(ureq::post(url).send("0").unwrap().status(), 200);
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.host)
    }

    fn keys(&self) -> [(&str, &str); 2] {
        [("AWS_ACCESS_KEY_ID", &self.access_key), ("AWS_SECRET_ACCESS_KEY", &self.secret_key)]
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended already; nothing can be done about it here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What names a service; the server takes it unchecked at first.
fn authorization(service: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/{service}/aws4_request")
}

#[test]
fn a_store_that_checks_signatures_takes_a_release_in_parts_and_gives_it_back() {
    let moto = Moto::start();
    let bench = large();
    let (endpoint, target) = (moto.endpoint(), "s3://images/quickstart/7");
    let publish = ["publish", "lb", target, "--endpoint", &endpoint];
    let pull = ["pull", "lb", target, "--endpoint", &endpoint, "--out", "pulled"];
    let name = done(&kiln(&bench, &moto.keys(), &publish));
    assert_eq!(name, "s3://images/quickstart/7/lb/\n");
    done(&kiln(&bench, &moto.keys(), &pull));
    bench.assert_pulled("lb");

    // Nothing is sent again, and another release stays away until a person says so.
    done(&kiln(&bench, &moto.keys(), &publish));
    bench.build("lb", "8", 0);
    let report = refused(&kiln(&bench, &moto.keys(), &publish));
    assert!(report.contains("is another release\n"), "{report}");
    let replace = [&publish[..], &["--replace"]].concat();
    done(&kiln(&bench, &moto.keys(), &replace));
    let sums = Digest::of(&bench.files("out", "lb")["SHA256SUMS"]).to_string();
    done(&kiln(&bench, &moto.keys(), &[&pull[..], &["--sha256", &sums]].concat()));
    bench.assert_pulled("lb");
}

#[test]
fn a_store_that_checks_signatures_refuses_others() {
    let moto = Moto::start();
    let bench = Bench::new();
    let endpoint = moto.endpoint();
    let publish = ["publish", "lb", "s3://images/1", "--endpoint", &endpoint];
    let wrong = format!("{}x", moto.secret_key);
    for (access, secret) in [(moto.access_key.as_str(), wrong.as_str()), ("AKIAUNKNOWN", &wrong)] {
        let keys = [("AWS_ACCESS_KEY_ID", access), ("AWS_SECRET_ACCESS_KEY", secret)];
        let report = refused(&kiln(&bench, &keys, &publish));
        assert!(report.contains("answers 403 Forbidden"), "{report}");
        assert!(report.contains("help:  check the credentials and what they allow: "), "{report}");
        assert!(!report.contains(secret), "{report}");
    }
    let report = refused(&kiln(&bench, &[], &publish));
    assert!(report.contains("there are no credentials\nhelp:  set AWS_ACCESS_KEY_ID"), "{report}");
}
