// SPDX-License-Identifier: Apache-2.0
//! `WWW-Authenticate`: what a server wants before it answers (RFC 9110, section 11.6.1), as
//! registries use it: `Bearer realm="https://…",service="…",scope="…"` (RFC 6750, section 3).

/// A challenge of the scheme Bearer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bearer {
    /// Where tokens are.
    pub(super) realm: Option<String>,
    pub(super) service: Option<String>,
    pub(super) scope: Option<String>,
}

/// The first challenge for a token; others may stand beside it.
pub(super) fn bearer<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Bearer> {
    headers.into_iter().find_map(|header| {
        let mut rest = header;
        let mut found: Option<Bearer> = None;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let end = rest.find(|char| !is_token(char)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            if word.is_empty() {
                return found;
            }
            rest = behind;
            let Some(value) = behind.trim_start_matches([' ', '\t']).strip_prefix('=') else {
                // A word without a value begins a challenge.
                if found.is_some() {
                    return found;
                }
                found = word.eq_ignore_ascii_case("Bearer").then(Bearer::default);
                continue;
            };
            let (value, behind) = read_value(value.trim_start_matches([' ', '\t']));
            rest = behind;
            if let Some(bearer) = &mut found {
                match word.to_ascii_lowercase().as_str() {
                    "realm" => bearer.realm = Some(value),
                    "service" => bearer.service = Some(value),
                    "scope" => bearer.scope = Some(value),
                    _ => {}
                }
            }
        }
    })
}

/// Whether a server asks for name and password (RFC 7617).
pub(super) fn is_basic<'a>(headers: impl IntoIterator<Item = &'a str>) -> bool {
    headers.into_iter().any(|header| {
        let word = header.trim_start().split([' ', '\t', ',']).next().unwrap_or_default();
        word.eq_ignore_ascii_case("Basic")
    })
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(char: char) -> bool {
    char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char)
}

/// A token or a quoted string, and what stands behind it.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, char)| char)),
            _ => value.push(char),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(header: &str) -> Option<(String, String, String)> {
        let Bearer { realm, service, scope } = bearer([header])?;
        Some((realm.unwrap_or_default(), service.unwrap_or_default(), scope.unwrap_or_default()))
    }

    #[test]
    fn a_challenge_is_read_as_registries_write_it() {
        let text = |realm: &str, service: &str, scope: &str| {
            Some((realm.to_owned(), service.to_owned(), scope.to_owned()))
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.example/token",service="a.example",scope="repository:a/b:pull,push""#,
                text("https://auth.example/token", "a.example", "repository:a/b:pull,push"),
            ),
            (r#"bearer  Realm = "x\"y" , error=invalid_token"#, text("x\"y", "", "")),
            (r#"Basic realm="a", Bearer realm="b",service=c"#, text("b", "c", "")),
            (r#"Bearer realm="b", Basic realm="a""#, text("b", "", "")),
            (r#"Negotiate abc==, Bearer realm="b""#, text("b", "", "")),
            ("Bearer", text("", "", "")),
            (r#"Basic realm="Bearer realm=x""#, None),
            ("", None),
            ("Bearer realm=\"open", text("open", "", "")),
        ] {
            assert_eq!(read(header), expected, "{header}");
        }
        let headers = [r#"Basic realm="a""#, r#"Bearer realm="b""#];
        assert_eq!(bearer(headers).unwrap().realm.as_deref(), Some("b"));
    }

    #[test]
    fn a_server_without_tokens_asks_for_a_password() {
        assert!(is_basic([r#"Basic realm="x""#]) && is_basic(["Negotiate", "basic"]));
        assert!(!is_basic([r#"Bearer realm="Basic""#]) && !is_basic(["Basics x=y"]));
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(header in "(Bearer |realm=|[a-z ,=\"\\\\ü])*") {
            let _ = read(&header);
        }
    }
}
