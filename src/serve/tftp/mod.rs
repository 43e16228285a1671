// SPDX-License-Identifier: Apache-2.0
//! TFTP for the first stage: firmware of the old kind can load nothing else.
//!
//! Reads only, files of one folder only, one block at a time. Packets come from anybody and say that
//! they come from somebody else, so an answer that nobody acknowledges is repeated a few times and
//! no more, and nobody has many at a time.

mod packet;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout, timeout_at},
};

use self::packet::{Code, Packet, Wanted, Wrong};
use super::{Site, folder, folder::Folder, script};
use crate::sys;

/// Until a packet is sent again, if the client asks for no other time.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;
/// For a whole file.
const LIMIT: Duration = Duration::from_secs(600);
/// Files on their way at a time, and of those to one address.
const TRANSFERS_MAX: usize = 256;
const OF_ONE_MAX: usize = 4;
/// Files that are offered, and folders below each other.
const FILES_MAX: usize = 1000;
const DEPTH_MAX: usize = 3;
/// Larger than any request; the rest of a packet is cut off, and it is none then.
const REQUEST_MAX: usize = 1024;
/// What an iPXE that came from here asks for next, by itself.
const SCRIPTS: [&str; 2] = ["autoexec.ipxe", "boot.ipxe"];

/// The programs of the first stage.
#[derive(Debug)]
pub(super) struct FirstStage {
    folder: Arc<Folder>,
    files: BTreeMap<String, Offered>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Offered {
    folder: Arc<Folder>,
    name: String,
}

impl Offered {
    /// The file, and its size in bytes.
    pub(super) fn open(&self) -> io::Result<(File, u64)> {
        let file = self.folder.file(&self.name)?;
        let len = file.metadata()?.len();
        Ok((file, len))
    }
}

impl FirstStage {
    /// Every file of a folder, by its path below it.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let folder = Arc::new(Folder::open(path)?);
        let mut stage = Self { folder, files: BTreeMap::new() };
        stage.add(path, "", 0).context("listing the programs of the first stage")?;
        Ok(stage)
    }

    fn add(&mut self, path: &Path, prefix: &str, depth: usize) -> Result<()> {
        for path in sys::fs::list_if_present(path)? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let name = format!("{prefix}{name}");
            if sys::fs::is_dir(&path) {
                if depth < DEPTH_MAX {
                    self.add(&path, &format!("{name}/"), depth + 1)?;
                }
            } else if self.files.len() < FILES_MAX {
                let offered = Offered { folder: Arc::clone(&self.folder), name: name.clone() };
                self.files.insert(name, offered);
            }
        }
        Ok(())
    }

    /// Clients write paths with and without the slash at their start.
    pub(super) fn get(&self, name: &str) -> Option<&Offered> {
        self.files.get(name.trim_start_matches('/'))
    }
}

/// What is sent.
enum Content {
    Bytes(Vec<u8>),
    File(Arc<File>, u64),
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, len) => *len,
        }
    }

    /// A block's packet.
    async fn block(&self, number: u64, len: u16) -> io::Result<Vec<u8>> {
        let mut packet = packet::data(number);
        let head = packet.len();
        let start = (number - 1) * u64::from(len);
        let n = self.len().saturating_sub(start).min(u64::from(len));
        let n = usize::try_from(n).expect("a block is small");
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(start).expect("it is in memory");
                packet.extend_from_slice(&bytes[start..start + n]);
            }
            Self::File(file, _) => {
                packet.resize(head + n, 0);
                let mut done = 0;
                while done < n {
                    let at = start + done as u64;
                    let now = folder::read_at_once(file, &mut packet[head + done..], at)?;
                    let read = match now {
                        Some(read) => read,
                        None => {
                            let (file, mut piece) = (Arc::clone(file), vec![0; n - done]);
                            let reading = tokio::task::spawn_blocking(move || {
                                let n = folder::read_at(&file, &mut piece, at)?;
                                Ok::<_, io::Error>((piece, n))
                            });
                            let (piece, read) = reading.await.map_err(io::Error::other)??;
                            packet[head + done..head + done + read].copy_from_slice(&piece[..read]);
                            read
                        }
                    };
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    done += read;
                }
            }
        }
        Ok(packet)
    }
}

/// Transfers by address.
type Busy = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

/// One transfer, as long as this lives.
struct Place(Busy, IpAddr);

impl Place {
    fn take(busy: &Busy, address: IpAddr) -> Option<Self> {
        let mut all = busy.lock().unwrap_or_else(PoisonError::into_inner);
        let n_all: usize = all.values().sum();
        let n = all.get(&address).copied().unwrap_or(0);
        if n_all >= TRANSFERS_MAX || n >= OF_ONE_MAX {
            return None;
        }
        all.insert(address, n + 1);
        Some(Self(Arc::clone(busy), address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = all.get_mut(&self.1) {
            *n -= 1;
            if *n == 0 {
                all.remove(&self.1);
            }
        }
    }
}

/// Answers requests for ever.
pub(super) async fn serve(socket: UdpSocket, site: Arc<Site>) {
    let busy = Busy::default();
    let mut buffer = [0; REQUEST_MAX];
    loop {
        let Ok((n, client)) = socket.recv_from(&mut buffer).await else {
            // An answer to an earlier packet that could not be delivered.
            tokio::task::yield_now().await;
            continue;
        };
        match packet::parse(&buffer[..n]) {
            Ok(Packet::Read(wanted)) => {
                // Whoever has too many is not answered, and asks again.
                let Some(place) = Place::take(&busy, client.ip().to_canonical()) else { continue };
                let listens = socket.local_addr().ok();
                let site = Arc::clone(&site);
                tokio::spawn(async move {
                    let _ = transfer(&site, listens, client, &wanted).await;
                    drop(place);
                });
            }
            Ok(Packet::Ack(_) | Packet::Error) => {}
            Err(wrong) => {
                let _ = socket.send_to(&packet::error(wrong), client).await;
            }
        }
    }
}

/// Sends one file from a port of its own (RFC 1350, section 4).
async fn transfer(
    site: &Site,
    listens: Option<SocketAddr>,
    client: SocketAddr,
    wanted: &Wanted,
) -> io::Result<()> {
    let any =
        listens.map_or_else(|| SocketAddr::from(([0; 4], 0)), |it| SocketAddr::new(it.ip(), 0));
    let socket = UdpSocket::bind(any).await?;
    socket.connect(client).await?;
    let content = match content(site, &socket, &wanted.file) {
        Some(content) => content,
        None => {
            socket.send(&packet::error(Wrong(Code::NotFound, "no such file"))).await?;
            return Ok(());
        }
    };
    let peer = client.ip().to_canonical();
    site.progress.say(format!("{peer}: '{}' by TFTP", wanted.file));
    send(&socket, wanted, &content).await
}

fn content(site: &Site, socket: &UdpSocket, name: &str) -> Option<Content> {
    let offered = site.first_stage.as_ref().and_then(|stage| stage.get(name));
    if let Some(offered) = offered {
        let (file, len) = offered.open().ok()?;
        return Some(Content::File(Arc::new(file), len));
    }
    SCRIPTS.contains(&name.trim_start_matches('/')).then_some(())?;
    let local = socket.local_addr().ok()?;
    Some(Content::Bytes(script::first_by_tftp(&site.base(local.ip())).into_bytes()))
}

async fn send(socket: &UdpSocket, wanted: &Wanted, content: &Content) -> io::Result<()> {
    let end = Instant::now() + LIMIT;
    let again = wanted.timeout.map_or(AGAIN, |seconds| Duration::from_secs(seconds.into()));
    let len = wanted.block.unwrap_or(packet::BLOCK);
    if let Some(options) = packet::granted(wanted, content.len())
        && !acknowledged(socket, &options, 0, again, end).await?
    {
        return Ok(());
    }
    // The last block is not full, and may be empty.
    for number in 1..=content.len() / u64::from(len) + 1 {
        let block = content.block(number, len).await?;
        if !acknowledged(socket, &block, number, again, end).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends a packet until it is acknowledged; false if the client wants no more. An acknowledgment of
/// another block is none, and no reason to send anything: else every packet would come twice from
/// then on (RFC 1123, section 4.2.3.1).
async fn acknowledged(
    socket: &UdpSocket,
    packet: &[u8],
    number: u64,
    again: Duration,
    end: Instant,
) -> io::Result<bool> {
    let mut buffer = [0; REQUEST_MAX];
    for _ in 0..TRIES {
        socket.send(packet).await?;
        let until = (Instant::now() + again).min(end);
        while let Ok(received) = timeout_at(until, socket.recv(&mut buffer)).await {
            match packet::parse(&buffer[..received?]) {
                Ok(Packet::Ack(acked)) if acked == packet::wire(number) => return Ok(true),
                Ok(Packet::Error) => return Ok(false),
                _ => {}
            }
        }
        if Instant::now() >= end {
            break;
        }
    }
    // So that a client that is still there does not wait for more.
    let gone = packet::error(Wrong(Code::Undefined, "no acknowledgment"));
    let _ = timeout(again, socket.send(&gone)).await;
    Ok(false)
}

#[cfg(test)]
mod tests;
