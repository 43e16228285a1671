// SPDX-License-Identifier: Apache-2.0
//! What is published of a role: the files that its `SHA256SUMS` names, and what they are.
//!
//! Both ways need it, and both read it out of the same two files: `SHA256SUMS`, which names every
//! file by digest, and `manifest.json`, which is one of them and has their sizes. They must agree
//! with each other. They may come from anywhere, so names are plain names of files.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use crate::{digest::Digest, outputs::MANIFEST_SCHEMA, units::Bytes};

/// The file that names all others, and is therefore written last and read first.
pub const SUMS: &str = "SHA256SUMS";
pub const MANIFEST: &str = "manifest.json";

/// Most bytes of the two; real ones have a hundredth of it.
pub const MAX_SUMS: Bytes = Bytes::mib(1);
pub const MAX_MANIFEST: Bytes = Bytes::mib(16);
/// Most bytes of a name, as file systems count.
const MAX_NAME: usize = 255;
/// Most files of a role; a build leaves a dozen.
const MAX_FILES: usize = 500;

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub name: String,
    /// Bytes.
    pub size: u64,
    pub sha256: Digest,
}

impl File {
    /// What a web server would say that it is.
    pub fn media_type(&self) -> &'static str {
        match self.name.as_str() {
            SUMS => "text/plain",
            MANIFEST => "application/json",
            _ => "application/octet-stream",
        }
    }
}

/// One role of one version, as its build left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub cluster: String,
    pub role: String,
    pub version: String,
    /// Seconds since 1970.
    pub epoch: u32,
    /// Files inside of the images that are secrets.
    pub n_secrets: usize,
    /// Everything but `SHA256SUMS`, sorted by name.
    pub files: Vec<File>,
    pub sums: File,
}

impl Release {
    /// Every file, the one that names the others at the end.
    pub fn all(&self) -> impl Iterator<Item = &File> {
        self.files.iter().chain([&self.sums])
    }
}

/// Why two files describe no release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("line {line} of '{SUMS}' is not 'DIGEST  NAME' with a plain name")]
    Line { line: usize },
    #[error("'{SUMS}' names '{0}' twice")]
    Twice(String),
    #[error("'{SUMS}' names more than {MAX_FILES} files")]
    Many,
    #[error("'{SUMS}' does not name '{0}', which '{MANIFEST}' has")]
    Unnamed(String),
    #[error("'{MANIFEST}' has no '{0}', which '{SUMS}' names")]
    Undescribed(String),
    #[error("'{name}' differs: '{SUMS}' has sha256 {sums}, '{MANIFEST}' has {manifest}")]
    Differs { name: String, sums: String, manifest: String },
    #[error("'{MANIFEST}' is not what '{SUMS}' names: expected sha256 {expected}, found {found}")]
    Manifest { expected: String, found: String },
    #[error("'{MANIFEST}' is malformed: {0}")]
    Malformed(String),
    #[error("'{MANIFEST}' has schema {0}, expected {MANIFEST_SCHEMA}")]
    Schema(u32),
}

/// What is read of `manifest.json`.
#[derive(Deserialize)]
struct Described {
    schema: u32,
    cluster: String,
    role: String,
    version: String,
    epoch: u32,
    outputs: Vec<Output>,
    secrets: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Output {
    file: String,
    size: u64,
    sha256: Digest,
}

/// The digests of files by their names.
///
/// # Errors
/// A line is no digest with a plain name, or a name is there twice.
pub fn sums(bytes: &[u8]) -> Result<BTreeMap<String, Digest>, Error> {
    let text = str::from_utf8(bytes).map_err(|_| Error::Line { line: 1 })?;
    let mut sums = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let entry = line.split_once("  ").filter(|(_, name)| is_plain(name));
        let entry = entry.and_then(|(digest, name)| Some((digest.parse().ok()?, name)));
        let (digest, name) = entry.ok_or(Error::Line { line: index + 1 })?;
        if sums.insert(name.to_owned(), digest).is_some() {
            return Err(Error::Twice(name.to_owned()));
        }
        if sums.len() > MAX_FILES {
            return Err(Error::Many);
        }
    }
    Ok(sums)
}

/// Letters, digits, dots, hyphens and underscores: neither a way to another folder nor anything
/// that an address would have to escape. A dot at the beginning would hide it.
fn is_plain(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(known)
        && !name.starts_with(['.', '-'])
        && name != SUMS
}

/// Reads the two files.
///
/// # Errors
/// One of them is malformed, or they do not describe the same files.
pub fn read(sums_text: &[u8], manifest: &[u8]) -> Result<Release, Error> {
    let mut sums = sums(sums_text)?;
    let expected = sums.remove(MANIFEST).ok_or_else(|| Error::Unnamed(MANIFEST.to_owned()))?;
    let found = Digest::of(manifest);
    if found != expected {
        return Err(Error::Manifest { expected: expected.short(), found: found.short() });
    }
    let described: Described =
        serde_json::from_slice(manifest).map_err(|error| Error::Malformed(error.to_string()))?;
    if described.schema != MANIFEST_SCHEMA {
        return Err(Error::Schema(described.schema));
    }
    let mut files =
        vec![File { name: MANIFEST.to_owned(), size: manifest.len() as u64, sha256: expected }];
    for Output { file, size, sha256 } in described.outputs {
        let shown = || file.escape_default().to_string();
        let named = sums.remove(&file).ok_or_else(|| Error::Unnamed(shown()))?;
        if named != sha256 {
            let (sums, manifest) = (named.short(), sha256.short());
            return Err(Error::Differs { name: file, sums, manifest });
        }
        files.push(File { name: file, size, sha256 });
    }
    if let Some(name) = sums.into_keys().next() {
        return Err(Error::Undescribed(name));
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let Described { cluster, role, version, epoch, secrets, .. } = described;
    let sums =
        File { name: SUMS.to_owned(), size: sums_text.len() as u64, sha256: Digest::of(sums_text) };
    Ok(Release { cluster, role, version, epoch, n_secrets: secrets.len(), files, sums })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest(outputs: &[(&str, &[u8])]) -> String {
        let outputs: Vec<String> = outputs
            .iter()
            .map(|(file, bytes)| {
                let (size, sha256) = (bytes.len(), Digest::of(bytes));
                format!(r#"{{"file":"{file}","size":{size},"sha256":"{sha256}"}}"#)
            })
            .collect();
        format!(
            r#"{{"schema":1,"cluster":"quickstart","role":"lb","version":"7","epoch":5,"outputs":[{}],"secrets":[],"more":1}}"#,
            outputs.join(",")
        )
    }

    fn sums_of(files: &[(&str, &[u8])]) -> String {
        files.iter().map(|(name, bytes)| format!("{}  {name}\n", Digest::of(bytes))).collect()
    }

    #[test]
    fn a_release_has_the_files_that_both_name() {
        let json = manifest(&[("a.raw", b"disk"), ("z.qcow2", b"form")]);
        let sums =
            sums_of(&[("a.raw", b"disk"), (MANIFEST, json.as_bytes()), ("z.qcow2", b"form")]);
        let release = read(sums.as_bytes(), json.as_bytes()).unwrap();
        let names: Vec<(&str, u64)> =
            release.all().map(|file| (file.name.as_str(), file.size)).collect();
        let (json, sums) = (json.len() as u64, sums.len() as u64);
        assert_eq!(names, [("a.raw", 4), (MANIFEST, json), ("z.qcow2", 4), (SUMS, sums)]);
        assert_eq!((release.role.as_str(), release.version.as_str()), ("lb", "7"));
    }

    #[test]
    fn what_the_two_files_do_not_agree_on_is_said() {
        let refusal = |outputs: &[(&str, &[u8])], named: &[(&str, &[u8])]| {
            let json = manifest(outputs);
            let mut sums = sums_of(named);
            sums.push_str(&sums_of(&[(MANIFEST, json.as_bytes())]));
            read(sums.as_bytes(), json.as_bytes()).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(&[("a", b"1")], &[("a", b"1"), ("b", b"2")]),
            "'manifest.json' has no 'b', which 'SHA256SUMS' names"
        );
        assert_eq!(
            refusal(&[("a", b"1"), ("b", b"2")], &[("a", b"1")]),
            "'SHA256SUMS' does not name 'b', which 'manifest.json' has"
        );
        let (one, two) = (Digest::of(b"1").short(), Digest::of(b"2").short());
        assert_eq!(
            refusal(&[("a", b"1")], &[("a", b"2")]),
            format!("'a' differs: 'SHA256SUMS' has sha256 {two}, 'manifest.json' has {one}")
        );
        assert_eq!(
            refusal(&[("a", b"1")], &[("a", b"1"), ("a", b"1")]),
            "'SHA256SUMS' names 'a' twice"
        );
        let json = manifest(&[]).replace("\"schema\":1", "\"schema\":2");
        let sums = sums_of(&[(MANIFEST, json.as_bytes())]);
        let error = read(sums.as_bytes(), json.as_bytes()).unwrap_err();
        assert_eq!(error, Error::Schema(2));
        let error = read(sums.as_bytes(), b"{}").unwrap_err();
        assert!(matches!(error, Error::Manifest { .. }));
        assert_eq!(read(b"", b"{}").unwrap_err(), Error::Unnamed(MANIFEST.to_owned()));
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let digest = Digest::of(b"");
        for name in ["../a", "a/b", "..", ".a", "", "-a", "a b", "a\\b", "a%2fb", "SHA256SUMS", "é"]
        {
            let error = sums(format!("{digest}  {name}\n").as_bytes()).unwrap_err();
            assert_eq!(error, Error::Line { line: 1 }, "{name}");
        }
        for text in [format!("{digest} *a\n"), format!("{digest}  a\n\n"), "x  a\n".to_owned()] {
            assert!(matches!(sums(text.as_bytes()), Err(Error::Line { .. })), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(text: Vec<u8>, json: Vec<u8>) {
            let _ = sums(&text);
            let _ = read(&text, &json);
            let named = format!("{}  {MANIFEST}\n", Digest::of(&json));
            let _ = read(named.as_bytes(), &json);
        }
    }
}
