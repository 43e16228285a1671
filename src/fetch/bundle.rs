// SPDX-License-Identifier: Apache-2.0
//! Programs out of a tar archive, into the cache, each under the digest of its bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use flate2::read::MultiGzDecoder;

use crate::{
    checksum::Sum,
    digest::Hasher,
    error::refuse,
    formats::tar::stream::{self, File},
    kubernetes::release::MAX_PROGRAM,
    lock::LockedFile,
    store::Store,
    sys::{self, interrupt, scratch::ScratchFile},
    units::Bytes,
};

/// Every wanted program of `bundle`, plain or compressed by gzip, whatever its folder in there.
pub(super) fn unpack(
    store: &Store,
    bundle: &Path,
    wanted: &BTreeSet<&str>,
) -> Result<BTreeMap<String, LockedFile>> {
    let task = || format!("reading '{}'", bundle.display());
    if !sys::fs::exists(bundle) {
        return Err(refuse(
            format!("there is no '{}'", bundle.display()),
            "name the archive of the server programs under 'kubernetes.binaries' of cluster.yaml, or \
             'upstream'",
        ));
    }
    let mut found = BTreeMap::new();
    let mut paths: BTreeMap<String, String> = BTreeMap::new();
    let take = |file: &File<'_>, data: &mut dyn Read| {
        let program = keep(store, file, data).with_context(|| format!("'{}'", file.path))?;
        let first = paths.entry(file.name.to_owned()).or_insert_with(|| file.path.to_owned());
        match found.insert(file.name.to_owned(), program.clone()) {
            Some(other) if other != program => Err(refuse(
                format!("'{first}' and '{}' are different programs of one name", file.path),
                "take an archive that has each program once",
            )),
            _ => Ok(()),
        }
    };
    stream::files(open(bundle)?, wanted, take).map_err(explain).with_context(task)?;
    match wanted.iter().find(|name| !found.contains_key(**name)) {
        Some(name) => Err(refuse(
            format!("it has no '{name}'"),
            "take the archive of the server programs, 'kubernetes-server-linux-amd64.tar.gz'",
        ))
        .with_context(task),
        None => Ok(found),
    }
}

fn open(bundle: &Path) -> Result<Box<dyn Read>> {
    let mut file = sys::fs::open(bundle)?;
    let mut magic = Vec::new();
    Read::by_ref(&mut file)
        .take(2)
        .read_to_end(&mut magic)
        .and_then(|_| file.seek(SeekFrom::Start(0)))
        .with_context(|| format!("reading '{}'", bundle.display()))?;
    let file = BufReader::with_capacity(256 << 10, file);
    Ok(match magic == [0x1f, 0x8b] {
        true => Box::new(MultiGzDecoder::new(file)),
        false => Box::new(file),
    })
}

/// Writes a program into the cache while it comes by.
fn keep(store: &Store, file: &File<'_>, data: &mut dyn Read) -> Result<LockedFile> {
    if file.size > MAX_PROGRAM.get() {
        anyhow::bail!("it has {}, more than {MAX_PROGRAM}", Bytes(file.size));
    }
    let incoming = store.incoming_program(file.name);
    sys::fs::create_dirs(incoming.parent().expect("below the cache"))?;
    let mut spool = ScratchFile::beside(&incoming)?;
    let mut hasher = Hasher::new();
    let mut size = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        interrupt::check()?;
        let count = match data.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(stream::Error::Read(error).into()),
        };
        hasher.update(&buffer[..count]);
        spool
            .write_all(&buffer[..count])
            .with_context(|| format!("writing '{}'", incoming.display()))?;
        size += count as u64;
    }
    let sha256 = hasher.finish();
    let place = store.program(&Sum::Sha256(sha256));
    sys::fs::create_dirs(place.parent().expect("below the cache"))?;
    spool.appear_at(&place)?;
    Ok(LockedFile { size, sha256, url: None, published: None })
}

fn explain(error: anyhow::Error) -> anyhow::Error {
    let help = match error.downcast_ref::<stream::Error>() {
        Some(stream::Error::Read(_) | stream::Error::Short { .. }) => "fetch the archive again",
        Some(_) => "take the archive that the Kubernetes project releases",
        None => return error,
    };
    refuse(format!("{error:#}"), help)
}
