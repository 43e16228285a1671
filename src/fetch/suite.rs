// SPDX-License-Identifier: Apache-2.0
//! What a suite of an archive offers, as its signed files say.

use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};

use super::{
    Fetcher, Wanted,
    http::{Expected, Outcome, Size},
};
use crate::{
    checksum::Sum,
    debian::{
        index,
        release::{self, Expect, Release},
    },
    error::refuse,
    lock::{LockedArchive, choose::Suite},
    sys,
    units::Bytes,
};

/// Most bytes of an `InRelease` file; Debian's have some 200 KiB.
const MAX_RELEASE: u64 = 16 << 20;
/// Most bytes of a `Packages` file; Debian's largest have some 60 MiB.
const MAX_INDEX: u64 = 512 << 20;

impl Fetcher {
    /// The suite as it is now; with `--offline` as it was when it was last fetched.
    pub fn suite(
        &self,
        archive: &str,
        suite: &str,
        components: &[String],
        architecture: &str,
    ) -> Result<Suite> {
        let base = self.url(archive, &format!("dists/{suite}"))?;
        let task = || format!("reading suite '{suite}' of archive '{archive}'");
        let release = self.release(archive, suite, &base).with_context(task)?;
        let mut packages = Vec::new();
        for component in components {
            let index = format!("{component}/binary-{architecture}/Packages");
            let text = self.index(&release, &base, &index).with_context(task)?;
            let found = index::parse(&text, architecture);
            packages
                .extend(found.with_context(|| format!("reading '{index}'")).with_context(task)?);
        }
        let locked = LockedArchive {
            archive: archive.to_owned(),
            suite: suite.to_owned(),
            date: release.date.0,
            release: release.digest,
        };
        Ok(Suite { locked, packages })
    }

    fn release(&self, archive: &str, suite: &str, base: &str) -> Result<Release> {
        let kept = self.store.release(archive, suite);
        let bytes = if self.offline {
            if !sys::fs::exists(&kept) {
                self.online(&format!("dists/{suite}/InRelease"))?;
            }
            sys::fs::read(&kept)?
        } else {
            match self.client.get(&format!("{base}/InRelease"), MAX_RELEASE)? {
                Outcome::Found(bytes) => bytes,
                Outcome::Missing(who) => {
                    let option = if archive == super::archives::DEBIAN {
                        "--mirror"
                    } else {
                        "--security-mirror"
                    };
                    return Err(refuse(
                        who,
                        format!("name an archive that has '{suite}' with {option} URL"),
                    ));
                }
            }
        };
        let release = release::verify(&bytes, &self.keyring, sys::now(), &Expect { suite })
            .map_err(|error| refuse_release(&error))?;
        if !self.offline {
            sys::fs::create_dirs(kept.parent().expect("below the cache"))?;
            sys::fs::write_atomic(&kept, &bytes)?;
        }
        Ok(release)
    }

    /// A `Packages` file, by the digest that the signed `Release` names.
    fn index(&self, release: &Release, base: &str, index: &str) -> Result<Vec<u8>> {
        let entry = |path: &str| {
            release.file(path).with_context(|| format!("its Release file names no '{path}'"))
        };
        let compressed = format!("{index}.xz");
        let (xz, plain) = (entry(&compressed)?, entry(index)?);
        if let Some(large) = [xz.size, plain.size].into_iter().find(|size| *size > MAX_INDEX) {
            anyhow::bail!("'{index}' has {}, at most {} are read", Bytes(large), Bytes(MAX_INDEX));
        }
        let folder = index.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut urls = vec![format!("{base}/{compressed}")];
        if release.acquire_by_hash {
            // No update of the archive between two requests can race this address.
            urls.insert(0, format!("{base}/{folder}/by-hash/SHA256/{}", xz.sha256));
        }
        let file = self.store.index(&xz.sha256);
        let name = format!("{} {compressed}", release.codename);
        let expected = Expected { size: Size::Exactly(xz.size), sum: Sum::Sha256(xz.sha256) };
        let wanted =
            Wanted { client: &self.client, name: &name, file: &file, urls: &urls, expected };
        let task = self.progress.bytes(
            format!("fetching {name}"),
            format!("fetched {name}"),
            Bytes(xz.size),
        );
        match self.obtain(&wanted, &task, &AtomicBool::new(false))? {
            Outcome::Found(()) => task.finish(),
            Outcome::Missing(who) => {
                return Err(refuse(
                    format!("the archive is not whole: {who}"),
                    "retry later: the mirror may be in the middle of an update",
                ));
            }
        }
        let bytes = sys::fs::read(&file)?;
        // The file was hashed above, but another process may have touched it since.
        if crate::digest::Digest::of(&bytes) != xz.sha256 {
            anyhow::bail!("'{}' changed while it was read", file.display());
        }
        Ok(index::decompress(&bytes, plain.size)?)
    }
}

fn refuse_release(error: &release::Error) -> anyhow::Error {
    use release::Error;
    let help = match error {
        Error::Expired { .. } => "name a mirror that is up to date with --mirror URL",
        Error::FromTheFuture { .. } => "set this machine's clock",
        Error::UnknownKeys { .. } | Error::Unsigned => {
            "for an archive of your own, name its keyring with --keyring FILE"
        }
        _ => "name another mirror with --mirror URL",
    };
    refuse(error, help)
}
