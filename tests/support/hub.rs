// SPDX-License-Identifier: Apache-2.0
//! A network between machines without any of the host's: a hub on a unix socket.
//!
//! QEMU's `stream` netdev sends each Ethernet frame behind its length, 4 bytes, big-endian. Every
//! frame goes to all other ports. A port whose machine does not read loses frames, as on a wire.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use kiln::qemu::Network;

/// Frames that wait for a port.
const QUEUE: usize = 4096;
/// Longer ones are no Ethernet frames, even with every offload.
const FRAME_MAX: usize = 1 << 17;

type Frame = Arc<Vec<u8>>;
type Ports = Arc<Mutex<Vec<(usize, SyncSender<Frame>)>>>;

#[derive(Debug)]
pub(crate) struct Hub {
    socket: PathBuf,
}

impl Hub {
    /// A hub whose socket lies in a folder; it lives as long as the test's process.
    pub(crate) fn start(folder: &Path) -> Hub {
        let socket = folder.join("hub");
        let listener = UnixListener::bind(&socket).expect("a socket for the hub");
        let ports = Ports::default();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { return };
                plug_in(number, stream, &ports);
            }
        });
        Hub { socket }
    }

    /// A cable into the hub.
    pub(crate) fn cable(&self) -> Network {
        Network::Cable { socket: self.socket.clone(), listen: false }
    }
}

fn plug_in(number: usize, stream: UnixStream, ports: &Ports) {
    let (sender, frames) = sync_channel::<Frame>(QUEUE);
    lock(ports).push((number, sender));
    let mut writer = stream.try_clone().expect("a handle of a socket");
    thread::spawn(move || {
        while let Ok(frame) = frames.recv() {
            if writer.write_all(&frame).is_err() {
                return;
            }
        }
    });
    let ports = ports.clone();
    thread::spawn(move || {
        forward(number, stream, &ports);
        lock(&ports).retain(|(other, _)| *other != number);
    });
}

/// Reads frames until the machine ends.
fn forward(number: usize, mut stream: UnixStream, ports: &Ports) {
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
        let frame = Arc::new(frame);
        for (_, port) in lock(ports).iter().filter(|(other, _)| *other != number) {
            // A full queue drops the frame.
            let _ = port.try_send(frame.clone());
        }
    }
}

fn lock(ports: &Ports) -> std::sync::MutexGuard<'_, Vec<(usize, SyncSender<Frame>)>> {
    ports.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_frame_reaches_every_other_port_and_only_those() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let ports: Vec<UnixStream> =
        (0..3).map(|_| UnixStream::connect(&hub.socket).unwrap()).collect();
    let [mut one, mut two, mut three] = <[UnixStream; 3]>::try_from(ports).unwrap();
    let read = |port: &mut UnixStream| {
        let mut bytes = [0; 6];
        port.read_exact(&mut bytes).unwrap();
        bytes
    };
    // Until a port is plugged in, frames pass it by.
    thread::sleep(std::time::Duration::from_millis(300));
    two.write_all(b"\0\0\0\x02ab").unwrap();
    assert_eq!((read(&mut one), read(&mut three)), (*b"\0\0\0\x02ab", *b"\0\0\0\x02ab"));
    one.write_all(b"\0\0\0\x02cd").unwrap();
    assert_eq!((read(&mut two), read(&mut three)), (*b"\0\0\0\x02cd", *b"\0\0\0\x02cd"));
}
