// SPDX-License-Identifier: Apache-2.0
//! Patterns of paths: `*` and `?` within a component, `**` across components.

/// Whether an absolute path matches a pattern. `/**` at the end matches everything below, and
/// `**` between slashes matches any number of components, none included.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.as_bytes(), path.as_bytes());
    // Where to go on after a mismatch: behind the last star, with one more byte swallowed.
    let mut retry: [Option<(usize, usize)>; 2] = [None, None];
    let (mut at, mut in_path) = (0, 0);
    loop {
        match pattern.get(at) {
            Some(b'*') if pattern.get(at + 1) == Some(&b'*') => {
                // `/**/` may stand for nothing but a slash.
                at += if pattern.get(at + 2) == Some(&b'/') { 3 } else { 2 };
                retry = [None, Some((at, in_path))];
                continue;
            }
            Some(b'*') => {
                at += 1;
                retry[0] = Some((at, in_path));
                continue;
            }
            Some(b'?') if path.get(in_path).is_some_and(|byte| *byte != b'/') => {
                (at, in_path) = (at + 1, in_path + 1);
                continue;
            }
            Some(byte) if path.get(in_path) == Some(byte) => {
                (at, in_path) = (at + 1, in_path + 1);
                continue;
            }
            None if in_path == path.len() => return true,
            _ => {}
        }
        match next_try(&mut retry, pattern, path) {
            Some(next) => (at, in_path) = next,
            None => return false,
        }
    }
}

/// Swallows one more byte by the innermost star that can.
fn next_try(
    retry: &mut [Option<(usize, usize)>; 2],
    pattern: &[u8],
    path: &[u8],
) -> Option<(usize, usize)> {
    if let Some((at, in_path)) = retry[0] {
        if path.get(in_path).is_some_and(|byte| *byte != b'/') {
            retry[0] = Some((at, in_path + 1));
            return retry[0];
        }
        retry[0] = None;
    }
    let (at, mut in_path) = retry[1]?;
    // After `**/` matching goes on at the start of a component only.
    let whole = pattern[..at].ends_with(b"/");
    loop {
        let byte = path.get(in_path)?;
        in_path += 1;
        if !whole || *byte == b'/' {
            break;
        }
    }
    retry[1] = Some((at, in_path));
    retry[1]
}

/// The part of a pattern before its first wildcard: what every match begins with.
pub(super) fn literal_prefix(pattern: &str) -> &str {
    let prefix = pattern.split(['*', '?']).next().unwrap_or(pattern);
    // `/a/**/b` also matches `/a/b`.
    prefix.strip_suffix('/').unwrap_or(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stay_within_a_component_and_double_stars_do_not() {
        for (pattern, path, expected) in [
            ("/usr/share/man", "/usr/share/man", true),
            ("/usr/share/man", "/usr/share/man1", false),
            ("/usr/share/*", "/usr/share/man", true),
            ("/usr/share/*", "/usr/share/man/man1", false),
            ("/usr/share/man/**", "/usr/share/man/man1/ls.1.gz", true),
            ("/usr/share/man/**", "/usr/share/man", false),
            ("/usr/share/doc/**/copyright", "/usr/share/doc/copyright", true),
            ("/usr/share/doc/**/copyright", "/usr/share/doc/a/b/copyright", true),
            ("/usr/share/doc/**/copyright", "/usr/share/doc/a/mycopyright", false),
            ("/usr/share/doc/*/copyright", "/usr/share/doc/a/b/copyright", false),
            ("/**/*.a", "/usr/lib/x86_64-linux-gnu/libc.a", true),
            ("/**/*.a", "/usr/lib/libc.so", false),
            ("/usr/**/gconv/**", "/usr/lib/x/gconv/UTF-16.so", true),
            ("/usr/**/gconv/**", "/usr/lib/x/gconvert/UTF-16.so", false),
            ("/a*c*e", "/abcde", true),
            ("/a*c*e", "/abcd", false),
            ("/a?c", "/abc", true),
            ("/a?c", "/a/c", false),
            ("/lib*.so*", "/libc.so.6", true),
            ("/**", "/anything/at/all", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = format!("/{}b", "*a".repeat(200));
        assert!(!matches(&pattern, &format!("/{}", "a".repeat(200))));
        let pattern = format!("{}/b", "/**/a".repeat(50));
        assert!(!matches(&pattern, &"/a".repeat(120)));
    }

    #[test]
    fn every_match_begins_with_the_literal_prefix() {
        assert_eq!(literal_prefix("/usr/share/man/**"), "/usr/share/man");
        assert_eq!(literal_prefix("/usr/lib*"), "/usr/lib");
        assert_eq!(literal_prefix("/etc/issue"), "/etc/issue");
    }
}
