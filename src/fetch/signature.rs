// SPDX-License-Identifier: Apache-2.0
//! How a request says who sends it: AWS Signature Version 4, as every S3-compatible store checks it.
//!
//! Specification: Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header
//! (AWS Signature Version 4)". What is signed is the method, the address, every header that is
//! given, and the digest of the body, so that nobody on the way and no broken cable changes one of
//! them. The secret itself is never sent; a signature is good for one request, some minutes long.
//!
//! Addresses come here as they are sent: their paths need no escapes (`publish/target.rs`), and
//! their queries have them.

use std::collections::BTreeMap;

use ring::hmac;
use ureq::http::{Uri, header::AUTHORIZATION, header::HeaderName};

use crate::{digest::Digest, kubernetes::settings::Secret, lock::date};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";

/// Whoever has these may use the store.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    pub(crate) access_key: String,
    pub(crate) secret_key: Secret,
    /// Of credentials that end soon.
    pub(crate) session_token: Option<Secret>,
    pub(crate) region: String,
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    /// Sent with the request as they are.
    pub(crate) headers: &'a [(HeaderName, String)],
    /// Of the body, which may be empty.
    pub(crate) payload: Digest,
}

impl Signer {
    /// The headers to send with the others. `now` is in seconds since 1970.
    pub(crate) fn sign(&self, request: &Signed<'_>, now: u64) -> Vec<(HeaderName, String)> {
        let time = date::stamp(now);
        let named = |name: &'static str| HeaderName::from_static(name);
        let mut added = vec![
            (named("x-amz-content-sha256"), request.payload.to_string()),
            (named("x-amz-date"), time.clone()),
        ];
        let session = self.session_token.as_ref();
        added.extend(session.map(|it| (named("x-amz-security-token"), it.reveal().to_owned())));

        let url: Uri = request.url.parse().unwrap_or_default();
        let host = url.authority().map_or_else(String::new, ToString::to_string);
        let given = request.headers.iter().chain(&added);
        let mut headers: BTreeMap<&str, &str> =
            given.map(|(name, value)| (name.as_str(), value.trim())).collect();
        headers.insert("host", &host);
        let names = headers.keys().copied().collect::<Vec<_>>().join(";");

        let day = &time[..8];
        let scope = format!("{day}/{}/{SERVICE}/aws4_request", self.region);
        let canonical = canonical(request, &url, &headers, &names);
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", Digest::of(canonical.as_bytes()));
        let signature = hex(hmac(self.key(day), &text).as_ref());
        let key = &self.access_key;
        let value = format!(
            "{ALGORITHM} Credential={key}/{scope},SignedHeaders={names},Signature={signature}"
        );
        added.push((AUTHORIZATION, value));
        added
    }

    /// The key of a day, of a region and of the service.
    fn key(&self, day: &str) -> hmac::Tag {
        let first = format!("AWS4{}", self.secret_key.reveal());
        let mut key = hmac(first, day);
        for part in [&self.region, SERVICE, "aws4_request"] {
            key = hmac(key, part);
        }
        key
    }
}

/// The request as one text that both sides make of it.
fn canonical(
    request: &Signed<'_>,
    url: &Uri,
    headers: &BTreeMap<&str, &str>,
    names: &str,
) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let mut query: Vec<String> = url
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        // A name without a value has an empty one.
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    query.sort();
    let (method, path, query, payload) =
        (request.method, url.path(), query.join("&"), request.payload);
    format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}")
}

fn hmac(key: impl AsRef<[u8]>, text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether credentials can be sent: a line break would begin another header.
pub(crate) fn is_credential(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Credentials and moment of the examples of the specification.
    fn signer() -> Signer {
        Signer {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
            region: "us-east-1".to_owned(),
        }
    }

    fn sign(method: &str, path: &str, headers: &[(&'static str, &str)], body: &[u8]) -> String {
        let headers: Vec<(HeaderName, String)> = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), (*value).to_owned()))
            .collect();
        let url = format!("https://examplebucket.s3.amazonaws.com/{path}");
        let payload = Digest::of(body);
        let request = Signed { method, url: &url, headers: &headers, payload };
        let signed = signer().sign(&request, 1_369_353_600);
        assert_eq!(
            signed[1],
            (HeaderName::from_static("x-amz-date"), "20130524T000000Z".to_owned())
        );
        signed.last().unwrap().1.clone()
    }

    fn expected(names: &str, signature: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders={names},Signature={signature}"
        )
    }

    #[test]
    fn signatures_are_those_of_amazon_s_examples() {
        assert_eq!(
            sign("GET", "test.txt", &[("range", "bytes=0-9")], b""),
            expected(
                "host;range;x-amz-content-sha256;x-amz-date",
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
            )
        );
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        assert_eq!(
            sign("PUT", "test%24file.text", &headers, b"Welcome to Amazon S3."),
            expected(
                "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
            )
        );
        let names = "host;x-amz-content-sha256;x-amz-date";
        assert_eq!(
            sign("GET", "?lifecycle", &[], b""),
            expected(names, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")
        );
        assert_eq!(
            sign("GET", "?prefix=J&max-keys=2", &[], b""),
            expected(names, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
        );
    }

    #[test]
    fn a_session_is_signed_with_the_rest_and_no_secret_is_shown() {
        let signer = Signer { session_token: Some(Secret::new("the-session")), ..signer() };
        let payload = Digest::of(b"");
        let request = Signed { method: "GET", url: "https://a/b", headers: &[], payload };
        let signed = signer.sign(&request, 0);
        assert!(
            signed
                .iter()
                .any(|(name, value)| { name == "x-amz-security-token" && value == "the-session" })
        );
        assert!(signed.last().unwrap().1.contains("x-amz-date;x-amz-security-token,"));
        let shown = format!("{signer:?}");
        assert!(!shown.contains("wJalr") && !shown.contains("the-session"), "{shown}");
    }

    #[test]
    fn what_would_begin_another_header_is_no_credential() {
        assert!(is_credential("AKIAIOSFODNN7EXAMPLE"));
        assert!(!is_credential("") && !is_credential("a\r\nb") && !is_credential("a b"));
    }
}
