// SPDX-License-Identifier: Apache-2.0
//! Which bytes of something, and whether any: RFC 9110, sections 13 and 14.
//!
//! What is served has a strong validator, its SHA-256, and no date. Several ranges at once are answered
//! with the whole, as the RFC allows.

use hyper::{
    Method, StatusCode,
    header::{
        ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue,
        IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE,
    },
};

/// A response up to its body.
#[derive(Debug, PartialEq)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// First byte of the body and the one behind its last; empty if there is no body.
    pub(super) body: (u64, u64),
}

/// What answers a request for `len` bytes with this validator.
pub(super) fn head(method: &Method, asked: &HeaderMap, len: u64, validator: Option<&str>) -> Head {
    let etag = validator.map(|it| format!("\"{it}\""));
    let mut headers = HeaderMap::new();
    if let Some(etag) = etag.as_deref().and_then(|it| HeaderValue::from_str(it).ok()) {
        headers.insert(ETAG, etag);
    }
    let etag = etag.as_deref().unwrap_or("");
    let nothing = |status, headers| Head { status, headers, body: (0, 0) };
    if list(asked, IF_MATCH).is_some_and(|list| !list.iter().any(|it| *it == "*" || *it == etag)) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        return nothing(StatusCode::PRECONDITION_FAILED, headers);
    }
    // Weak comparison: what is the same byte for byte is also the same otherwise.
    let same = |it: &&str| *it == "*" || it.strip_prefix("W/").unwrap_or(it) == etag;
    if list(asked, IF_NONE_MATCH).is_some_and(|list| list.iter().any(same)) {
        return nothing(StatusCode::NOT_MODIFIED, headers);
    }
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let current = text(asked, IF_RANGE).is_none_or(|it| it == etag);
    let wanted = text(asked, RANGE).filter(|_| current && *method == Method::GET);
    let (status, (start, end)) = match wanted.map_or(Range::Whole, |it| parse(it, len)) {
        Range::Whole => (StatusCode::OK, (0, len)),
        Range::Part(start, end) => {
            headers.insert(CONTENT_RANGE, value(&format!("bytes {start}-{}/{len}", end - 1)));
            (StatusCode::PARTIAL_CONTENT, (start, end))
        }
        Range::None => {
            headers.insert(CONTENT_RANGE, value(&format!("bytes */{len}")));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            return nothing(StatusCode::RANGE_NOT_SATISFIABLE, headers);
        }
    };
    headers.insert(CONTENT_LENGTH, HeaderValue::from(end - start));
    let body = if *method == Method::HEAD { (0, 0) } else { (start, end) };
    Head { status, headers, body }
}

#[derive(Debug, PartialEq)]
enum Range {
    Whole,
    /// The first byte and the one behind the last; never empty.
    Part(u64, u64),
    /// Nothing of it is there.
    None,
}

/// What is no range, or several, means the whole.
fn parse(text: &str, len: u64) -> Range {
    let range = || {
        let (unit, set) = text.split_once('=')?;
        let (first, last) = set.trim().split_once('-')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        Some(match (number(first)?, number(last)?) {
            (None, None) => return None,
            (None, Some(n)) => (len.saturating_sub(n), len),
            (Some(first), None) => (first, len),
            (Some(first), Some(last)) if first > last => return None,
            (Some(first), Some(last)) => (first, last.saturating_add(1).min(len)),
        })
    };
    match range() {
        None => Range::Whole,
        Some((start, end)) if start < end => Range::Part(start, end),
        Some(_) => Range::None,
    }
}

/// Digits, or nothing; more than fit mean the largest number.
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The entries of a header that may come in several lines. Validators of ours have no commas.
fn list(headers: &HeaderMap, name: HeaderName) -> Option<Vec<&str>> {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|it| it.to_str().ok()).collect();
    let entries = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    (!lines.is_empty()).then(|| entries.collect())
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and signs are a header's value")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(method: Method, headers: &[(HeaderName, &str)]) -> (u16, Option<String>, (u64, u64)) {
        let mut asked = HeaderMap::new();
        for (name, value) in headers {
            asked.append(name.clone(), value.parse().unwrap());
        }
        let head = head(&method, &asked, 10, Some("abc"));
        let range = head.headers.get(CONTENT_RANGE).map(|it| it.to_str().unwrap().to_owned());
        (head.status.as_u16(), range, head.body)
    }

    #[test]
    fn a_part_is_given_if_it_is_there() {
        for (range, status, content_range, body) in [
            ("bytes=0-3", 206, Some("bytes 0-3/10"), (0, 4)),
            ("Bytes = 4-", 206, Some("bytes 4-9/10"), (4, 10)),
            ("bytes=-3", 206, Some("bytes 7-9/10"), (7, 10)),
            ("bytes=-99", 206, Some("bytes 0-9/10"), (0, 10)),
            ("bytes=9-99999999999999999999999", 206, Some("bytes 9-9/10"), (9, 10)),
            ("bytes=10-", 416, Some("bytes */10"), (0, 0)),
            ("bytes=99999999999999999999999-", 416, Some("bytes */10"), (0, 0)),
            ("bytes=-0", 416, Some("bytes */10"), (0, 0)),
            // None of these is one range.
            ("bytes=3-2", 200, None, (0, 10)),
            ("bytes=-", 200, None, (0, 10)),
            ("bytes=0-1,3-4", 200, None, (0, 10)),
            ("bytes=a-b", 200, None, (0, 10)),
            ("bytes=+1-2", 200, None, (0, 10)),
            ("lines=1-2", 200, None, (0, 10)),
            ("", 200, None, (0, 10)),
        ] {
            let found = ask(Method::GET, &[(RANGE, range)]);
            assert_eq!(found, (status, content_range.map(str::to_owned), body), "{range}");
        }
        assert_eq!(ask(Method::HEAD, &[(RANGE, "bytes=0-3")]), (200, None, (0, 0)));
    }

    #[test]
    fn validators_decide_whether_anything_is_sent() {
        for (headers, status) in [
            (vec![(IF_NONE_MATCH, "\"abc\"")], 304),
            (vec![(IF_NONE_MATCH, "W/\"abc\"")], 304),
            (vec![(IF_NONE_MATCH, "\"x\", \"abc\"")], 304),
            (vec![(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "*")], 304),
            (vec![(IF_NONE_MATCH, "\"x\"")], 200),
            (vec![(IF_MATCH, "\"x\"")], 412),
            (vec![(IF_MATCH, "\"abc\"")], 200),
            (vec![(IF_MATCH, "W/\"abc\"")], 412),
            (vec![(IF_RANGE, "\"abc\""), (RANGE, "bytes=1-1")], 206),
            (vec![(IF_RANGE, "\"x\""), (RANGE, "bytes=1-1")], 200),
            (vec![(IF_RANGE, "Sat, 29 Oct 1994 19:43:31 GMT"), (RANGE, "bytes=1-1")], 200),
        ] {
            assert_eq!(ask(Method::GET, &headers).0, status, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_means_bytes_that_are_there(text in "(bytes=)?[0-9,=bytes -]{0,20}", len in 0_u64..20) {
            match parse(&text, len) {
                Range::Part(start, end) => prop_assert!(start < end && end <= len),
                Range::Whole | Range::None => {}
            }
        }
    }
}
