// SPDX-License-Identifier: Apache-2.0
//! `Packages` files: what one component of an archive offers for one architecture.
//!
//! Only fields that decide what goes into an image are read, and those strictly: a package
//! without a digest, or with a path that leaves the archive, is refused. Relation fields stay
//! text, because a solution looks at a few hundred of 70 000 packages.

use std::{io::Read as _, str::FromStr};

use lzma_rust2::XzReader;

use super::{control, dependency, version};
use crate::digest::Digest;

/// A binary package as its archive describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: version::Version,
    /// An architecture, or `all`.
    pub architecture: String,
    pub essential: bool,
    pub priority: Priority,
    pub multi_arch: MultiArch,
    pub pre_depends: Field,
    pub depends: Field,
    pub provides: Field,
    pub conflicts: Field,
    pub breaks: Field,
    pub replaces: Field,
    /// Path below the archive's base address.
    pub filename: String,
    /// Bytes of the `.deb`.
    pub size: u64,
    pub sha256: Digest,
    /// Bytes on a file system, by the archive's estimate.
    pub installed_size: u64,
}

/// A relation field as it stands in the index; empty if it is not there.
pub type Field = Box<str>;

/// Debian Policy section 2.5, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Required,
    Important,
    Standard,
    Optional,
    Extra,
}

/// Whether a package also serves dependencies of other architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MultiArch {
    No,
    Same,
    Foreign,
    /// Dependencies on `name:any` are met.
    Allowed,
}

/// Why an index cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the index is no xz stream: {0}")]
    Compression(String),
    #[error("the index is longer than the {limit} bytes that its Release file names")]
    TooLong { limit: u64 },
    #[error("the index is not UTF-8 at byte {0}")]
    NotUtf8(usize),
    #[error("the index has {0}")]
    Syntax(#[from] control::Error),
    #[error("the package in line {line} has no field '{field}'")]
    Missing { line: usize, field: &'static str },
    #[error("field '{field}' of the package in line {line}: {reason}")]
    Field { line: usize, field: &'static str, reason: String },
}

/// Memory for the dictionary of an xz stream: `xz -9` needs 65 MiB to decompress.
const XZ_MEMORY_KIB: u32 = 96 << 10;

/// Decompresses `Packages.xz`; `limit` is the size of `Packages` in the Release file.
///
/// # Errors
/// No xz stream, or more than `limit` bytes in it.
pub fn decompress(xz: &[u8], limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    XzReader::new_mem_limit(xz, true, XZ_MEMORY_KIB)
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| Error::Compression(error.to_string()))?;
    match bytes.len() as u64 > limit {
        true => Err(Error::TooLong { limit }),
        false => Ok(bytes),
    }
}

/// The packages of an index for `architecture`, in its order.
///
/// # Errors
/// A stanza is malformed, or lacks what a build relies on.
pub fn parse(index: &[u8], architecture: &str) -> Result<Vec<Package>, Error> {
    let text = std::str::from_utf8(index).map_err(|error| Error::NotUtf8(error.valid_up_to()))?;
    control::stanzas(text).map(|stanza| package(&Fields(stanza?), architecture)).collect()
}

fn package(fields: &Fields<'_>, architecture: &str) -> Result<Package, Error> {
    Ok(Package {
        name: fields.checked("Package", "no package name", dependency::is_package_name)?,
        version: fields.parsed("Version")?,
        architecture: fields.checked("Architecture", "another architecture", |found| {
            found == architecture || found == "all"
        })?,
        essential: fields.0.get("Essential") == Some("yes"),
        priority: fields.named("Priority", &PRIORITIES, Priority::Optional)?,
        multi_arch: fields.named("Multi-Arch", &MULTI_ARCH, MultiArch::No)?,
        pre_depends: fields.relation("Pre-Depends"),
        depends: fields.relation("Depends"),
        provides: fields.relation("Provides"),
        conflicts: fields.relation("Conflicts"),
        breaks: fields.relation("Breaks"),
        replaces: fields.relation("Replaces"),
        filename: fields.checked("Filename", "no path below the archive", is_pool_path)?,
        size: fields.parsed("Size")?,
        sha256: fields.parsed("SHA256")?,
        installed_size: match fields.0.get("Installed-Size") {
            Some(_) => fields.parsed::<u64>("Installed-Size")?.saturating_mul(1024),
            None => 0,
        },
    })
}

const PRIORITIES: [(&str, Priority); 5] = [
    ("required", Priority::Required),
    ("important", Priority::Important),
    ("standard", Priority::Standard),
    ("optional", Priority::Optional),
    ("extra", Priority::Extra),
];

const MULTI_ARCH: [(&str, MultiArch); 4] = [
    ("no", MultiArch::No),
    ("same", MultiArch::Same),
    ("foreign", MultiArch::Foreign),
    ("allowed", MultiArch::Allowed),
];

/// A relative path of plain components; it becomes part of an address and of a file name.
fn is_pool_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._~".contains(&byte);
    path.split('/')
        .all(|component| !matches!(component, "" | "." | "..") && component.bytes().all(plain))
}

/// A stanza with errors that name line and field.
struct Fields<'a>(control::Stanza<'a>);

impl<'a> Fields<'a> {
    fn required(&self, field: &'static str) -> Result<&'a str, Error> {
        self.0.get(field).ok_or(Error::Missing { line: self.0.line, field })
    }

    fn error(&self, field: &'static str, reason: String) -> Error {
        Error::Field { line: self.0.line, field, reason }
    }

    fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, field: &'static str) -> Result<T, Error> {
        let value = self.required(field)?;
        value
            .parse()
            .map_err(|error| self.error(field, format!("'{}': {error}", value.escape_debug())))
    }

    fn checked(
        &self,
        field: &'static str,
        reason: &str,
        check: impl Fn(&str) -> bool,
    ) -> Result<String, Error> {
        let value = self.required(field)?;
        match check(value) {
            true => Ok(value.to_owned()),
            false => Err(self.error(field, format!("'{}' is {reason}", value.escape_debug()))),
        }
    }

    fn named<T: Copy>(
        &self,
        field: &'static str,
        names: &[(&str, T)],
        absent: T,
    ) -> Result<T, Error> {
        let Some(value) = self.0.get(field) else { return Ok(absent) };
        names.iter().find(|(name, _)| *name == value).map(|(_, value)| *value).ok_or_else(|| {
            self.error(field, format!("'{}' is no known value", value.escape_debug()))
        })
    }

    fn relation(&self, field: &str) -> Field {
        self.0.get(field).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use lzma_rust2::{XzOptions, XzWriter};

    use super::*;

    const STANZA: &str = "Package: bash
Essential: yes
Version: 5.2.37-2+b8
Installed-Size: 7288
Architecture: amd64
Depends: base-files (>= 2.1.12), debianutils (>= 5.6-0.1)
Pre-Depends: libc6 (>= 2.38), libtinfo6 (>= 6)
Priority: required
Filename: pool/main/b/bash/bash_5.2.37-2+b8_amd64.deb
Size: 1498560
SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
";

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).expect("options");
        writer.write_all(bytes).expect("memory");
        writer.finish().expect("memory")
    }

    #[test]
    fn a_package_is_read_with_what_a_build_needs() {
        let packages = parse(STANZA.as_bytes(), "amd64").expect("valid");
        let [bash] = &packages[..] else { panic!("one package") };
        assert_eq!((bash.name.as_str(), bash.version.as_str()), ("bash", "5.2.37-2+b8"));
        assert!(bash.essential);
        assert_eq!(bash.priority, Priority::Required);
        assert_eq!(bash.multi_arch, MultiArch::No);
        assert_eq!(&*bash.pre_depends, "libc6 (>= 2.38), libtinfo6 (>= 6)");
        assert_eq!(&*bash.conflicts, "");
        assert_eq!((bash.size, bash.installed_size), (1_498_560, 7288 * 1024));
    }

    #[test]
    fn a_defective_stanza_is_refused() {
        let error = |from: &str, to: &str| {
            let text = format!("\n{}", STANZA.replace(from, to));
            parse(text.as_bytes(), "amd64").expect_err(to)
        };
        for (from, to, name) in [
            ("pool/main", "pool/../main", "Filename"),
            ("pool/main", "/pool/main", "Filename"),
            ("pool/main", "pool//main", "Filename"),
            ("pool/main", "pool?main", "Filename"),
            ("Package: bash", "Package: ../bash", "Package"),
            ("Version: 5", "Version: x5", "Version"),
            ("Size: 1498560", "Size: -1", "Size"),
            ("SHA256: ba", "SHA256: b", "SHA256"),
            ("Priority: required", "Priority: high", "Priority"),
            ("Architecture: amd64", "Architecture: arm64", "Architecture"),
        ] {
            let found = error(from, to);
            assert!(
                matches!(&found, Error::Field { line: 2, field, .. } if *field == name),
                "{found}"
            );
        }
        for (line, name) in [("SHA256", "SHA256"), ("Size", "Size"), ("Filename", "Filename")] {
            let found = error(&format!("\n{line}:"), "\nOther:");
            assert_eq!(found, Error::Missing { line: 2, field: name });
        }
        assert!(matches!(error("Size", "Size\n"), Error::Syntax(_)));
        assert!(matches!(parse(b"A: \xff", "amd64"), Err(Error::NotUtf8(3))));
    }

    #[test]
    fn an_index_is_decompressed_up_to_its_size() {
        let text = STANZA.repeat(50);
        let compressed = xz(text.as_bytes());
        let size = text.len() as u64;
        assert_eq!(decompress(&compressed, size).as_deref(), Ok(text.as_bytes()));
        assert_eq!(decompress(&compressed, size - 1), Err(Error::TooLong { limit: size - 1 }));
        let cut = &compressed[..compressed.len() - 30];
        assert!(matches!(decompress(cut, size), Err(Error::Compression(_))));
        assert!(matches!(decompress(b"no xz", 9), Err(Error::Compression(_))));
        let mut changed = compressed.clone();
        changed[40] ^= 1;
        assert!(decompress(&changed, size).is_err());
    }
}
