// SPDX-License-Identifier: Apache-2.0
//! Compressed blocks of earlier builds, so that a warm build compresses only what changed.
//!
//! A root has many thousands of blocks, so they lie in packs and not in files of their own. A
//! process adds one pack: `NAME.data` holds the blocks one after another, `NAME.index` one
//! [record](RECORD) for each. Both only grow; the record is written after its block, so a
//! process that dies loses at most its last block. A block is checked when it is read, so
//! neither file is trusted, and one that is damaged is as if it were not there.
//!
//! Packs that no build used for longest go first when the cache outgrows its limit.
#![expect(clippy::disallowed_methods, reason = "the I/O ring")]

use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use anyhow::{Context as _, Result};

use crate::{
    digest::{Digest, Hasher},
    formats::squashfs::BlockStore,
    units::Bytes,
};

/// Size of all packs together after [`BlockCache::open`].
pub const LIMIT: Bytes = Bytes::mib(4096);
/// Number of packs after [`BlockCache::open`]; each build that compresses something adds one.
const MAX_PACKS: usize = 256;
/// Largest block: squashfs blocks are at most 1 MiB, and never larger compressed.
const MAX_BLOCK: u32 = 1 << 20;
/// Bytes of an index record: key 32, offset 8, length 4, check 20; numbers little-endian.
const RECORD: usize = 64;
/// Bytes of SHA-256 that check a block.
const CHECK: usize = 20;

/// Blocks by the digest of what they were made from. Safe to share between threads.
#[derive(Debug)]
pub struct BlockCache {
    packs: Vec<Pack>,
    found: RwLock<BTreeMap<Digest, Place>>,
    /// This process's own pack, made for the first block.
    own: Mutex<Own>,
    folder: PathBuf,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct Pack {
    /// Path of the `.data` file.
    path: PathBuf,
    file: OnceLock<Option<File>>,
}

#[derive(Debug, Default)]
struct Own {
    state: State,
    end: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unused,
    Open {
        data: Arc<File>,
        index: File,
    },
    /// The cache cannot be written; the build goes on without it.
    Failed(String),
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// Index in `packs`; none is the own pack.
    pack: Option<usize>,
    offset: u64,
    len: u32,
    check: [u8; CHECK],
}

impl BlockCache {
    /// The packs in `folder`, after removing those that exceed `limit`.
    pub fn open(folder: &Path, limit: Bytes) -> Result<Self> {
        crate::sys::fs::create_dirs(folder)?;
        let task = || format!("reading the block cache '{}'", folder.display());
        let mut packs = Vec::new();
        let mut found = BTreeMap::new();
        for path in kept_packs(folder, limit).with_context(task)? {
            // A pack that another process removed meanwhile is as good as empty.
            let Ok(index) = fs::read(path.with_extension("index")) else { continue };
            let pack = Some(packs.len());
            found.extend(index.as_chunks::<RECORD>().0.iter().map(|record| decode(record, pack)));
            packs.push(Pack { path, file: OnceLock::new() });
        }
        Ok(Self {
            packs,
            found: RwLock::new(found),
            own: Mutex::default(),
            folder: folder.to_owned(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    /// The block made from what `key` names, if it is there and whole.
    pub fn get(&self, key: &Digest) -> Option<Vec<u8>> {
        let place = *self.found.read().unwrap_or_else(PoisonError::into_inner).get(key)?;
        let block = self.read(key, place).ok().flatten();
        let count = if block.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Relaxed);
        block
    }

    /// Keeps a block. Builds do not depend on it, so there is no error; see [`Self::problem`].
    pub fn put(&self, key: &Digest, block: &[u8]) {
        let Some(len) = u32::try_from(block.len()).ok().filter(|len| *len <= MAX_BLOCK) else {
            return;
        };
        let mut own = self.lock_own();
        let place = Place { pack: None, offset: own.end, len, check: check(key, block) };
        match own.append(&self.folder, key, place, block) {
            Ok(true) => {
                let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
                found.insert(*key, place);
            }
            Ok(false) => {}
            Err(error) => own.state = State::Failed(error.to_string()),
        }
    }

    /// Why blocks could not be kept, if so.
    pub fn problem(&self) -> Option<String> {
        match &self.lock_own().state {
            State::Failed(reason) => {
                Some(format!("blocks are not cached in '{}': {reason}", self.folder.display()))
            }
            State::Unused | State::Open { .. } => None,
        }
    }

    /// How many blocks were found whole, and how many were damaged, since the cache was opened.
    pub fn reads(&self) -> (u64, u64) {
        (self.hits.load(Relaxed), self.misses.load(Relaxed))
    }

    fn read(&self, key: &Digest, place: Place) -> io::Result<Option<Vec<u8>>> {
        if place.len > MAX_BLOCK {
            return Ok(None);
        }
        let mut block = vec![0; place.len as usize];
        match place.pack {
            Some(pack) => match self.packs[pack].file() {
                Some(file) => file.read_exact_at(&mut block, place.offset)?,
                None => return Ok(None),
            },
            None => {
                let data = match &self.lock_own().state {
                    State::Open { data, .. } => Arc::clone(data),
                    State::Unused | State::Failed(_) => return Ok(None),
                };
                data.read_exact_at(&mut block, place.offset)?;
            }
        }
        Ok((check(key, &block) == place.check).then_some(block))
    }

    fn lock_own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pack {
    /// Opened at the first hit, which also marks the pack as used.
    fn file(&self) -> Option<&File> {
        let open = || {
            let file = File::open(&self.path).ok()?;
            // Without the mark the pack is only removed earlier.
            let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
            Some(file)
        };
        self.file.get_or_init(open).as_ref()
    }
}

impl Own {
    /// Whether the block was written.
    fn append(
        &mut self,
        folder: &Path,
        key: &Digest,
        place: Place,
        block: &[u8],
    ) -> io::Result<bool> {
        if matches!(self.state, State::Unused) {
            self.state = create(folder)?;
        }
        let State::Open { data, index } = &mut self.state else { return Ok(false) };
        data.as_ref().write_all(block)?;
        index.write_all(&encode(key, place))?;
        self.end += block.len() as u64;
        Ok(true)
    }
}

/// A pack with a name that no other process has.
fn create(folder: &Path) -> io::Result<State> {
    let data = tempfile::Builder::new().prefix("pack-").suffix(".data").tempfile_in(folder)?;
    let path = data.path().with_extension("index");
    let index = File::create_new(path)?;
    let (data, _) = data.keep().map_err(|error| error.error)?;
    Ok(State::Open { data: Arc::new(data), index })
}

/// `.data` files that stay, the ones used last first; the others are removed.
fn kept_packs(folder: &Path, limit: Bytes) -> io::Result<Vec<PathBuf>> {
    let mut packs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "data")
            && let Ok(meta) = fs::metadata(&path)
        {
            packs.push((meta.modified()?, path, meta.len()));
        }
    }
    packs.sort_by(|a, b| b.cmp(a));
    let mut size = 0_u64;
    let mut kept = Vec::new();
    for (_, path, len) in packs {
        size = size.saturating_add(len);
        if size <= limit.get() && kept.len() < MAX_PACKS {
            kept.push(path);
        } else {
            // Another process may have removed it first.
            let _ = fs::remove_file(path.with_extension("index"));
            let _ = fs::remove_file(&path);
        }
    }
    Ok(kept)
}

fn check(key: &Digest, block: &[u8]) -> [u8; CHECK] {
    let mut hasher = Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(block);
    *hasher.finish().as_bytes().first_chunk().expect("shorter than a digest")
}

fn encode(key: &Digest, place: Place) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..32].copy_from_slice(key.as_bytes());
    record[32..40].copy_from_slice(&place.offset.to_le_bytes());
    record[40..44].copy_from_slice(&place.len.to_le_bytes());
    record[44..].copy_from_slice(&place.check);
    record
}

fn decode(record: &[u8; RECORD], pack: Option<usize>) -> (Digest, Place) {
    fn part<const N: usize>(record: &[u8; RECORD], at: usize) -> [u8; N] {
        *record[at..].first_chunk().expect("inside the record")
    }
    let place = Place {
        pack,
        offset: u64::from_le_bytes(part(record, 32)),
        len: u32::from_le_bytes(part(record, 40)),
        check: part(record, 44),
    };
    (Digest::from(part::<32>(record, 0)), place)
}

impl BlockStore for BlockCache {
    fn get(&self, key: &Digest) -> Option<Vec<u8>> {
        Self::get(self, key)
    }

    fn put(&self, key: &Digest, block: &[u8]) {
        Self::put(self, key, block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Digest {
        Digest::of(&[number])
    }

    fn block(number: u8) -> Vec<u8> {
        vec![number; 1000 + usize::from(number)]
    }

    fn filled(folder: &Path, numbers: std::ops::Range<u8>) {
        let cache = BlockCache::open(folder, LIMIT).unwrap();
        numbers.for_each(|number| cache.put(&key(number), &block(number)));
        assert_eq!(cache.problem(), None);
    }

    fn present(folder: &Path, limit: Bytes) -> Vec<u8> {
        let cache = BlockCache::open(folder, limit).unwrap();
        let whole = |number: &u8| {
            let found = cache.get(&key(*number));
            assert!(found.is_none() || found.as_ref() == Some(&block(*number)), "{number}");
            found.is_some()
        };
        (0..20).filter(whole).collect()
    }

    fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
    }

    #[test]
    fn blocks_are_found_at_once_and_by_later_processes() {
        let place = tempfile::tempdir().unwrap();
        let cache = BlockCache::open(place.path(), LIMIT).unwrap();
        assert_eq!(cache.get(&key(1)), None);
        cache.put(&key(1), &block(1));
        assert_eq!(cache.get(&key(1)), Some(block(1)));
        filled(place.path(), 2..5);
        assert_eq!(present(place.path(), LIMIT), [1, 2, 3, 4]);
        assert_eq!(files(place.path(), "data").len(), 2);
    }

    #[test]
    fn threads_share_one_cache() {
        let place = tempfile::tempdir().unwrap();
        let cache = BlockCache::open(place.path(), LIMIT).unwrap();
        std::thread::scope(|scope| {
            for number in 0..20 {
                let cache = &cache;
                scope.spawn(move || {
                    cache.put(&key(number), &block(number));
                    assert_eq!(cache.get(&key(number)), Some(block(number)));
                });
            }
        });
        assert_eq!(present(place.path(), LIMIT).len(), 20);
    }

    #[test]
    fn damaged_blocks_are_as_if_they_were_not_there() {
        let place = tempfile::tempdir().unwrap();
        filled(place.path(), 0..4);
        let data = &files(place.path(), "data")[0];
        let mut bytes = fs::read(data).unwrap();
        bytes[1000] ^= 1;
        fs::write(data, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(present(place.path(), LIMIT), [0, 2]);
    }

    #[test]
    fn damaged_and_truncated_indexes_are_harmless() {
        let place = tempfile::tempdir().unwrap();
        filled(place.path(), 0..4);
        let index = &files(place.path(), "index")[0];
        let whole = fs::read(index).unwrap();
        fs::write(index, &whole[..3 * RECORD + 10]).unwrap();
        assert_eq!(present(place.path(), LIMIT), [0, 1, 2]);
        for at in 0..RECORD {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            fs::write(index, bytes).unwrap();
            assert_eq!(present(place.path(), LIMIT), [1, 2, 3], "byte {at}");
        }
    }

    #[test]
    fn packs_that_were_not_used_go_first() {
        let place = tempfile::tempdir().unwrap();
        let age = |path: &Path, seconds| {
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        filled(place.path(), 0..2);
        let first = files(place.path(), "data").remove(0);
        filled(place.path(), 2..4);
        for path in files(place.path(), "data") {
            age(&path, if path == first { 1000 } else { 2000 });
        }
        // A hit makes the older pack the newer one.
        let cache = BlockCache::open(place.path(), LIMIT).unwrap();
        assert!(cache.get(&key(1)).is_some());
        assert_eq!(present(place.path(), Bytes(2500)), [0, 1]);
        assert_eq!(files(place.path(), "index").len(), 1);
        assert_eq!(present(place.path(), Bytes(0)), [0_u8; 0]);
    }

    #[test]
    fn a_cache_that_cannot_be_written_says_so_and_stays_quiet() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("blocks");
        let cache = BlockCache::open(&folder, LIMIT).unwrap();
        fs::remove_dir(&folder).unwrap();
        cache.put(&key(1), &block(1));
        cache.put(&key(2), &block(2));
        assert_eq!(cache.get(&key(1)), None);
        let problem = cache.problem().unwrap();
        assert!(problem.contains("No such file or directory"), "{problem}");
    }
}
