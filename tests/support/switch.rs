// SPDX-License-Identifier: Apache-2.0
//! A network between machines without any of the host's: a switch on a unix socket.
//!
//! QEMU's `stream` netdev sends each Ethernet frame behind its length, 4 bytes, big-endian. A frame
//! goes to the port where its receiver was last heard, else to all others: what concerns two machines
//! costs the others nothing. A port whose machine does not read loses frames, as on a wire. The switch
//! notes who announces which address, so that a test sees an address move.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::Ipv4Addr,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use kiln::qemu::Network;

/// Frames that wait for a port.
const QUEUE: usize = 4096;
/// Longer ones are no Ethernet frames, even with every offload.
const FRAME_MAX: usize = 1 << 17;

type Frame = Arc<Vec<u8>>;
type Shared = Arc<Mutex<Ports>>;
type Announcements = Arc<Mutex<Vec<Announcement>>>;

/// What is plugged in, and who was heard where.
#[derive(Debug, Default)]
struct Ports {
    queues: Vec<(usize, SyncSender<Frame>)>,
    places: BTreeMap<[u8; 6], usize>,
}

impl Ports {
    /// Sends a frame on its way: IEEE 802.3, first the receiver's address, then the sender's. A full
    /// queue drops it.
    fn send(&mut self, from: usize, frame: &Frame, header_len: usize) {
        let mut place = None;
        if let [receiver, sender, ..] = frame[header_len..].as_chunks::<6>().0 {
            self.places.insert(*sender, from);
            place = self.places.get(receiver).copied();
        }
        for (port, queue) in &self.queues {
            if *port != from && place.is_none_or(|place| place == *port) {
                let _ = queue.try_send(frame.clone());
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Switch {
    socket: PathBuf,
    announcements: Announcements,
}

/// A gratuitous ARP (RFC 5944, section 4.6): a machine says that an address is its own.
#[derive(Debug, Clone)]
struct Announcement {
    at: Instant,
    address: Ipv4Addr,
    /// Lower case, colons.
    mac: String,
}

impl Switch {
    /// A switch whose socket lies in a folder; it lives as long as the test's process.
    pub(crate) fn start(folder: &Path) -> Switch {
        let socket = folder.join("switch");
        let listener = UnixListener::bind(&socket).expect("a socket for the switch");
        let ports = Shared::default();
        let announcements = Announcements::default();
        let seen = announcements.clone();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { return };
                plug_in(number, stream, &ports, &seen);
            }
        });
        Switch { socket, announcements }
    }

    /// How long after a moment a machine announced an address; waits for it.
    pub(crate) fn wait_announced(
        &self,
        address: Ipv4Addr,
        mac: &str,
        since: Instant,
        limit: Duration,
    ) -> Option<Duration> {
        loop {
            let known = lock(&self.announcements);
            let wanted = |it: &&Announcement| it.address == address && it.mac == mac;
            let first =
                known.iter().filter(wanted).find_map(|it| it.at.checked_duration_since(since));
            drop(known);
            if first.is_some() || since.elapsed() > limit {
                return first;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A cable into the switch.
    pub(crate) fn cable(&self) -> Network {
        Network::Cable { socket: self.socket.clone(), listen: false }
    }
}

fn plug_in(number: usize, stream: UnixStream, ports: &Shared, seen: &Announcements) {
    let (sender, frames) = sync_channel::<Frame>(QUEUE);
    lock(ports).queues.push((number, sender));
    let mut writer = stream.try_clone().expect("a handle of a socket");
    thread::spawn(move || {
        while let Ok(frame) = frames.recv() {
            if writer.write_all(&frame).is_err() {
                return;
            }
        }
    });
    let (ports, seen) = (ports.clone(), seen.clone());
    thread::spawn(move || {
        forward(number, stream, &ports, &seen);
        let mut ports = lock(&ports);
        ports.queues.retain(|(other, _)| *other != number);
        ports.places.retain(|_, place| *place != number);
    });
}

/// Reads frames until the machine ends.
fn forward(number: usize, mut stream: UnixStream, ports: &Shared, seen: &Announcements) {
    let mut header = [0; 4];
    while stream.read_exact(&mut header).is_ok() {
        let len = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
        if len > FRAME_MAX {
            return;
        }
        let mut frame = header.to_vec();
        frame.resize(header.len() + len, 0);
        if stream.read_exact(&mut frame[header.len()..]).is_err() {
            return;
        }
        lock(seen).extend(announcement(&frame[header.len()..]));
        lock(ports).send(number, &Arc::new(frame), header.len());
    }
}

/// What an Ethernet frame announces: an ARP packet (RFC 826) whose sender asks for itself.
fn announcement(frame: &[u8]) -> Option<Announcement> {
    let (header, packet) = frame.split_at_checked(14)?;
    let arp = packet.get(..28).filter(|_| header.ends_with(&[0x08, 0x06]))?;
    let (mac, sender, target) = (&arp[8..14], &arp[14..18], &arp[24..28]);
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(sender).ok()?);
    let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let found = Announcement { at: Instant::now(), address, mac: mac.join(":") };
    (sender == target).then_some(found)
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_frame_reaches_every_other_port_and_only_those() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Switch::start(folder.path());
    let ports: Vec<UnixStream> =
        (0..3).map(|_| UnixStream::connect(&switch.socket).unwrap()).collect();
    let [mut one, mut two, mut three] = <[UnixStream; 3]>::try_from(ports).unwrap();
    let read = |port: &mut UnixStream| {
        let mut bytes = [0; 6];
        port.read_exact(&mut bytes).unwrap();
        bytes
    };
    // Until a port is plugged in, frames pass it by; the last one speaks after all others are.
    three.write_all(b"\0\0\0\x02ab").unwrap();
    assert_eq!((read(&mut one), read(&mut two)), (*b"\0\0\0\x02ab", *b"\0\0\0\x02ab"));
    one.write_all(b"\0\0\0\x02cd").unwrap();
    assert_eq!((read(&mut two), read(&mut three)), (*b"\0\0\0\x02cd", *b"\0\0\0\x02cd"));
}

#[test]
fn a_frame_goes_where_its_receiver_was_heard() {
    let queues = [(); 3].map(|()| sync_channel::<Frame>(8));
    let (senders, queues): (Vec<_>, Vec<_>) = queues.into_iter().unzip();
    let mut ports = Ports { queues: senders.into_iter().enumerate().collect(), ..Ports::default() };
    let mut send = |from: usize, to: u8| {
        let frame = [[to; 6], [from as u8; 6]].concat();
        ports.send(from, &Arc::new([&[0, 0, 0, 12], &frame[..]].concat()), 4);
        queues.iter().map(|queue| queue.try_iter().count()).collect::<Vec<_>>()
    };
    assert_eq!(send(0, 2), [0, 1, 1]);
    assert_eq!(send(2, 0), [1, 0, 0]);
    assert_eq!(send(0, 2), [0, 0, 1]);
    assert_eq!(send(1, 0xff), [1, 0, 1]);
}

#[test]
fn an_announced_address_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let switch = Switch::start(folder.path());
    let mut port = UnixStream::connect(&switch.socket).unwrap();
    let mut frame = [[0xff; 6], [2, 0, 0, 0, 0, 7]].concat();
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7, 10, 0, 0, 9]);
    frame.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 9]);
    let since = Instant::now();
    let len = u32::try_from(frame.len()).unwrap();
    port.write_all(&[&len.to_be_bytes()[..], &frame].concat()).unwrap();
    let address = Ipv4Addr::new(10, 0, 0, 9);
    let limit = Duration::from_secs(20);
    assert!(switch.wait_announced(address, "02:00:00:00:00:07", since, limit).is_some());
    let never = Duration::ZERO;
    assert_eq!(switch.wait_announced(address, "02:00:00:00:00:08", since, never), None);
    // A question for somebody else announces nothing.
    frame[14 + 27] = 8;
    assert!(announcement(&frame).is_none());
}
