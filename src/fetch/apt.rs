// SPDX-License-Identifier: Apache-2.0
//! The host's apt configuration: sources.list(5) in both its styles, read for one question
//! only: which base addresses serve Debian and its security updates?
//!
//! Everything signed is verified later, so a wrong guess here fails closed.

/// One archive with its suites, from an enabled `deb` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Without trailing slashes.
    pub uri: String,
    pub suites: Vec<String>,
    pub components: Vec<String>,
    /// The keyring named by the entry.
    pub signed_by: Option<String>,
}

const CODENAMES: [&str; 14] = [
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "unstable",
    "testing",
    "stable",
    "oldstable",
    "oldoldstable",
    "experimental",
    "rc-buggy",
];

/// Parses one file; `name` tells the style: `*.sources` is deb822, everything else is lines.
pub fn parse(name: &str, text: &str) -> Vec<Source> {
    if name.ends_with(".sources") {
        stanzas(text).iter().flat_map(from_stanza).collect()
    } else {
        text.lines().filter_map(from_line).collect()
    }
}

/// The base address of Debian itself among `sources`.
pub fn debian(sources: &[Source]) -> Option<&str> {
    let candidates = sources.iter().filter(|source| is_debian(source, ""));
    // `/debian` is how the project asks mirrors to name it; the first of equals is apt's choice.
    candidates.min_by_key(|source| !source.uri.ends_with("/debian")).map(|source| &*source.uri)
}

/// The base address of the security archive among `sources`.
pub fn security(sources: &[Source]) -> Option<&str> {
    sources.iter().find(|source| is_debian(source, "-security")).map(|source| &*source.uri)
}

/// Third parties also use Debian's code names as suites; their components or keys differ.
fn is_debian(source: &Source, suffix: &str) -> bool {
    let suite = |suite: &String| {
        // Before bullseye security suites were called `buster/updates`.
        suite.strip_suffix(suffix).is_some_and(|base| CODENAMES.contains(&base))
    };
    let key = source.signed_by.as_deref().unwrap_or("debian-archive-keyring");
    source.suites.iter().any(suite)
        && source.components.iter().any(|component| component == "main")
        && key.contains("debian-archive")
}

/// `deb [option=value ...] uri suite component...`
fn from_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim().strip_prefix("deb")?;
    let line = line.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match line.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", line),
    };
    let mut words = rest.split_whitespace();
    let uri = base(words.next()?)?;
    let suite = words.next()?.to_owned();
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="))
        .map(str::to_owned);
    let components = words.map(str::to_owned).collect();
    Some(Source { uri, suites: vec![suite], components, signed_by })
}

type Stanza<'a> = Vec<(String, Vec<&'a str>)>;

/// Fields with their words; continuation lines included, comments left out.
fn stanzas(text: &str) -> Vec<Stanza<'_>> {
    let mut stanzas = vec![Stanza::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let stanza = stanzas.last_mut().expect("never empty");
        if line.trim().is_empty() {
            stanzas.push(Stanza::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, words)) = stanza.last_mut() {
                words.extend(line.split_whitespace());
            }
        } else if let Some((field, value)) = line.split_once(':') {
            stanza.push((field.to_ascii_lowercase(), value.split_whitespace().collect()));
        }
    }
    stanzas
}

fn from_stanza(stanza: &Stanza<'_>) -> Vec<Source> {
    let words = |name: &str| {
        let field = stanza.iter().find(|(field, _)| field == name);
        field.map_or(&[][..], |(_, words)| words.as_slice())
    };
    let owned = |name: &str| words(name).iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let disabled = words("enabled").iter().any(|word| matches!(*word, "no" | "false" | "0"));
    if disabled || !words("types").contains(&"deb") {
        return Vec::new();
    }
    // A key written into the entry itself is some third party's.
    let signed_by = words("signed-by").first().map(|word| (*word).to_owned());
    let source = |uri| Source {
        uri,
        suites: owned("suites"),
        components: owned("components"),
        signed_by: signed_by.clone(),
    };
    words("uris").iter().filter_map(|uri| base(uri)).map(source).collect()
}

/// The address without trailing slashes, if it is of a kind that Kiln can fetch.
fn base(uri: &str) -> Option<String> {
    let uri = uri.trim_end_matches('/');
    if let Some(path) = uri.strip_prefix("file:") {
        return Some(format!("file:///{}", path.trim_start_matches('/')));
    }
    (uri.starts_with("http://") || uri.starts_with("https://")).then(|| uri.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expect: (Option<&str>, Option<&str>)) {
        let sources: Vec<_> = files.iter().flat_map(|(name, text)| parse(name, text)).collect();
        assert_eq!((debian(&sources), security(&sources)), expect, "{files:#?}");
    }

    #[test]
    fn one_line_style_is_read() {
        check(
            &[(
                "sources.list",
                "# comment\ndeb-src http://a.example/debian trixie main\n\
                 deb  http://b.example/debian/ trixie main contrib # here\n\
                 deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                 http://c.example/debian-security trixie-security main\n",
            )],
            (Some("http://b.example/debian"), Some("http://c.example/debian-security")),
        );
    }

    #[test]
    fn deb822_style_is_read() {
        let text = "Types: deb\n# comment\nURIs: http://a.example/debian\n\
                    Suites: bookworm\n bookworm-updates\nComponents: main\n\
                    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                    types: deb deb-src\nURIs: http://a.example/debian-security\n\
                    Suites: bookworm-security\nComponents: main\n";
        check(
            &[("debian.sources", text)],
            (Some("http://a.example/debian"), Some("http://a.example/debian-security")),
        );
    }

    #[test]
    fn disabled_entries_and_other_ways_of_transport_are_skipped() {
        let sources = "Enabled: no\nTypes: deb\nURIs: http://a.example/debian\nSuites: trixie\n\
                       Components: main\n";
        let list = "deb cdrom:[Debian]/ trixie main\ndeb mirror+file:/etc/list trixie main\n";
        check(&[("debian.sources", sources), ("sources.list", list)], (None, None));
    }

    #[test]
    fn third_parties_are_skipped() {
        let lists = [
            "deb https://download.example/linux/debian bookworm stable",
            "deb [signed-by=/usr/share/keyrings/vendor.gpg] https://vendor.example/debian trixie main",
            "deb https://apt.example/pub/repos/apt bookworm-pgdg main",
            "deb https://cloud.example/apt cloud-sdk-bookworm main",
            "deb http://archive.ubuntu.example/ubuntu noble main",
        ]
        .map(|text| ("x.list", text));
        check(&lists, (None, None));
        let sources = "Types: deb\nURIs: https://vendor.example/debian\nSuites: trixie\n\
                       Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n";
        check(&[("vendor.sources", sources)], (None, None));
    }

    #[test]
    fn the_usual_name_wins_over_other_names() {
        let text = "deb http://proxy.example/remote trixie main\n\
                    deb http://mirror.example/debian trixie main";
        check(&[("sources.list", text)], (Some("http://mirror.example/debian"), None));
        let text = "deb file:/srv/mirror trixie main";
        check(&[("sources.list", text)], (Some("file:///srv/mirror"), None));
    }
}
