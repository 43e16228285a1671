// SPDX-License-Identifier: Apache-2.0

use super::*;

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(future)
}

async fn pair() -> (UdpSocket, UdpSocket) {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    server.connect(client.local_addr().unwrap()).await.unwrap();
    client.connect(server.local_addr().unwrap()).await.unwrap();
    (server, client)
}

fn wanted(block: Option<u16>) -> Wanted {
    Wanted { file: "x".to_owned(), block, size: block.is_some(), timeout: None }
}

/// Acknowledges until the last block; what came.
async fn receive(client: &UdpSocket, len: usize, twice: bool) -> Vec<u8> {
    let (mut all, mut expected) = (Vec::new(), 1_u64);
    let mut buffer = [0; 2000];
    loop {
        let n = client.recv(&mut buffer).await.unwrap();
        match buffer[1] {
            6 => client.send(&[0, 4, 0, 0]).await.unwrap(),
            3 => {
                assert_eq!(buffer[2..4], packet::wire(expected).to_be_bytes(), "block {expected}");
                all.extend_from_slice(&buffer[4..n]);
                expected += 1;
                if twice {
                    // An old acknowledgment that took its time.
                    client.send(&[0, 4, 0, 0]).await.unwrap();
                }
                client.send(&[0, 4, buffer[2], buffer[3]]).await.unwrap()
            }
            other => panic!("a packet of kind {other}"),
        };
        if buffer[1] == 3 && n - 4 < len {
            return all;
        }
    }
}

#[test]
fn a_file_ends_with_a_block_that_is_not_full() {
    run(async {
        for n in [0, 1, 511, 512, 513, 1024, 5000] {
            let bytes: Vec<u8> = (0..n).map(|n| (n % 250) as u8).collect();
            let content = Content::Bytes(bytes.clone());
            let (server, client) = pair().await;
            let wanted = wanted(None);
            let (sent, got) =
                tokio::join!(send(&server, &wanted, &content), receive(&client, 512, n == 513));
            sent.unwrap();
            assert_eq!(got, bytes, "{n} bytes");
        }
    });
}

#[test]
fn a_file_may_have_more_blocks_than_there_are_numbers() {
    run(async {
        let bytes: Vec<u8> = (0..8 * 65_540).map(|n| (n / 8 % 250) as u8).collect();
        let content = Content::Bytes(bytes.clone());
        let (server, client) = pair().await;
        let wanted = wanted(Some(8));
        let (sent, got) =
            tokio::join!(send(&server, &wanted, &content), receive(&client, 8, false));
        sent.unwrap();
        assert!(got == bytes);
    });
}

#[test]
fn nobody_is_sent_to_for_ever() {
    run(async {
        tokio::time::pause();
        let (server, client) = pair().await;
        let end = Instant::now() + LIMIT;
        assert!(!acknowledged(&server, b"packet", 1, AGAIN, end).await.unwrap());
        let mut buffer = [0; 100];
        for _ in 0..TRIES {
            assert_eq!(client.try_recv(&mut buffer).unwrap(), 6);
        }
        // The word that it is over, and nothing after it.
        assert_eq!(client.try_recv(&mut buffer).unwrap(), 22);
        assert!(client.try_recv(&mut buffer).is_err());
    });
}

#[test]
fn one_address_has_few_transfers() {
    let busy = Busy::default();
    let [a, b] = [1, 2].map(|n| IpAddr::from([10, 0, 0, n]));
    let mut places: Vec<Place> = (0..OF_ONE_MAX).map(|_| Place::take(&busy, a).unwrap()).collect();
    assert!(Place::take(&busy, a).is_none());
    drop(Place::take(&busy, b).unwrap());
    places.pop();
    assert!(Place::take(&busy, a).is_some());
    drop(places);
    assert!(busy.lock().unwrap().is_empty());
}

#[test]
fn files_of_the_folder_are_offered_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("ipxe");
    sys::fs::create_dirs(&folder.join("qemu")).unwrap();
    sys::fs::write_atomic(&folder.join("undionly.kpxe"), b"program").unwrap();
    sys::fs::write_atomic(&folder.join("qemu/a.rom"), b"rom").unwrap();
    sys::fs::write_atomic(&root.path().join("secret"), b"s").unwrap();
    std::os::unix::fs::symlink("../secret", folder.join("out")).unwrap();
    let stage = FirstStage::read(&folder).unwrap();
    for name in ["undionly.kpxe", "/undionly.kpxe", "//qemu/a.rom"] {
        assert!(stage.get(name).unwrap().open().is_ok(), "{name}");
    }
    for name in
        ["", "/", "qemu", "../secret", "/etc/passwd", "qemu/../undionly.kpxe", "UNDIONLY.KPXE"]
    {
        assert!(stage.get(name).is_none(), "{name}");
    }
    // It is in the folder, and leads out of it.
    assert!(stage.get("out").unwrap().open().is_err());
}
