// SPDX-License-Identifier: Apache-2.0
//! `kiln serve` on loopback: what machines get, and what those get who mean ill.

mod client;
mod hostile;
mod load;
mod nginx;
mod others;
mod page;
pub(crate) mod site;
mod tftp;

use std::{fs, process::Command, thread, time::Duration};

use kiln::digest::Digest;

use self::site::{CLUSTER, MAC, Site, UUID};

#[test]
fn a_host_gets_its_script_its_image_and_its_metadata() {
    let root: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let site = Site::new(&root);
    let served = site.serve(&[]);
    assert!(served.get("/boot.ipxe").text().starts_with("#!ipxe\n:again\n"));
    let script = served.get(&format!("/hosts/{MAC}/boot.ipxe")).text();
    let url = format!("http://{}", served.address("http"));
    let expected =
        format!("set kiln-arguments kiln.url={url}/hosts/{MAC}/ kiln.report={url}/hosts/{MAC}/\n");
    assert!(script.contains(&expected), "{script}");
    let chained = script.split_whitespace().find(|word| word.ends_with(".ipxe")).unwrap();
    let chained = chained.strip_prefix(&url).unwrap();
    assert_eq!(served.get(chained).status, 200);
    // What lies beside the script is of the same build.
    let disk = chained.replace(".ipxe", ".disk");
    assert!(served.get(&disk).body == root);
    // Another role is not built, and its hosts are told so.
    let other = served.get(&format!("/hosts/{UUID}/boot.ipxe")).text();
    assert!(other.contains("node-2 has the role node, of which"), "{other}");
    let metadata = served.get("/hosts/52:54:00:00:00:01/meta-data");
    assert!(metadata.text().contains("\"local-hostname\": \"lb-1\""), "{metadata:?}");
    let sums = served.get(&format!("/hosts/{MAC}/SHA256SUMS")).text();
    assert!(sums.contains(&Digest::of(&metadata.body).to_string()), "{sums}");
}

#[test]
fn parts_validators_and_heads_are_as_the_standard_has_them() {
    let root: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let site = Site::new(&root);
    let served = site.serve(&[]);
    let path = "/images/lb/test-lb.disk";
    let etag = format!("\"{}\"", Digest::of(&root));
    let head = served.ask("HEAD", path, "", b"");
    assert_eq!((head.status, head.header("etag"), head.body.len()), (200, Some(&*etag), 0));
    assert_eq!(head.header("content-length"), Some("200000"));
    let part = served.ask("GET", path, "Range: bytes=65530-131080\r\n", b"");
    assert_eq!(
        (part.status, part.header("content-range")),
        (206, Some("bytes 65530-131080/200000"))
    );
    assert!(part.body == root[65_530..=131_080]);
    let same = served.ask("GET", path, &format!("If-None-Match: {etag}\r\n"), b"");
    assert_eq!((same.status, same.body.len()), (304, 0));
    let beyond = served.ask("GET", path, "Range: bytes=200000-\r\n", b"");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */200000")));
    assert_eq!(served.ask("DELETE", path, "", b"").status, 405);
    assert_eq!(served.ask("GET", &format!("/hosts/{MAC}/report"), "", b"").status, 405);
}

#[test]
fn a_new_build_is_served_whole_and_the_old_one_no_more() {
    let site = Site::new(b"the old root");
    let served = site.serve(&[]);
    let script = || served.get(&format!("/hosts/{MAC}/boot.ipxe")).text();
    let id = |script: &str| script.split("/v-").nth(1).unwrap()[..12].to_owned();
    let old = id(&script());
    site.build("lb", b"the new root!", 0);
    served.wait_for("serving 'lb' version 7");
    let new = id(&script());
    assert_ne!(old, new);
    let disk = |id: &str| served.get(&format!("/images/lb/v-{id}/test-lb.disk"));
    assert_eq!(disk(&new).text(), "the new root!");
    let gone = disk(&old);
    assert_eq!(gone.status, 404);
    assert!(gone.text().contains("built again"), "{gone:?}");
    // A file that is not what its manifest says is not served.
    site.write("out/lb/test-lb.disk", b"cut");
    assert_eq!(disk(&new).status, 503);
    // What cannot be read leaves what was there.
    site.write("out/lb/manifest.new", b"{}");
    fs::rename(site.path("out/lb/manifest.new"), site.path("out/lb/manifest.json")).unwrap();
    served.wait_for("serving what was there before");
    assert_eq!(served.get("/images/lb/test-lb.initrd").status, 200);
}

#[test]
fn an_unknown_machine_is_told_so() {
    let site = Site::new(b"root");
    let served = site.serve(&[]);
    let answer = served.get("/hosts/52-54-00-00-00-99/boot.ipxe");
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("no host of the cluster has this MAC address"), "{answer:?}");
    served.wait_for("unknown machine 52-54-00-00-00-99 (127.0.0.1)");
    assert!(served.get("/").text().contains("<code>52-54-00-00-00-99</code>"));
    served.get("/hosts/<script>/boot.ipxe");
    assert!(!served.get("/").text().contains("<script>/"));
}

#[test]
fn private_keys_are_served_only_if_somebody_says_so() {
    let site = Site::new(b"root");
    site.build("lb", b"root", 3);
    let refusal = site.refused(&[]);
    assert!(refusal.contains("the image of 'lb' holds 3 private keys"), "{refusal}");
    assert!(refusal.contains("--serve-keys images-over-http"), "{refusal}");
    let refusal = site.refused(&["--serve-keys", "images"]);
    assert!(refusal.contains("--tls-cert FILE"), "{refusal}");
    let served = site.serve(&["--serve-keys", "images-over-http"]);
    assert_eq!(served.get("/images/lb/test-lb.disk").status, 200);
    drop(served);
    let seed = format!(
        "{CLUSTER}pki: {{ delivery: seed }}\nkubernetes: {{ version: v1.34.1, binaries: up, control-plane: systemd }}\n"
    );
    site.build("lb", b"root", 0);
    site.write("cluster.yaml", seed.replace("role: lb", "role: master").as_bytes());
    site.write("profiles/master.yaml", b"packages: []\nkernel: { package: linux }\n");
    let refusal = site.refused(&[]);
    assert!(
        refusal.contains("hold private keys") && refusal.contains("--no-metadata"),
        "{refusal}"
    );
    let served = site.serve(&["--no-metadata"]);
    assert_eq!(served.get(&format!("/hosts/{MAC}/user-data")).status, 404);
}

#[test]
fn a_site_with_a_certificate_is_served_by_https_too() {
    let site = Site::new(b"root");
    let (key, certificate) = (site.path("key.pem"), site.path("cert.pem"));
    let openssl = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=boot", "-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(openssl.status.success(), "{}", String::from_utf8_lossy(&openssl.stderr));
    let [key, certificate] = [key, certificate].map(|path| path.to_str().unwrap().to_owned());
    let tls = ["--tls-listen", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
    site.build("lb", b"root with keys", 1);
    let served = site.serve(&[&tls[..], &["--serve-keys", "images"]].concat());
    let curl = |path: &str| {
        let url = format!("https://{}{path}", served.address("https"));
        let output = Command::new("curl")
            .args(["-sS", "--fail", "--noproxy", "*", "--cacert", &certificate, &url])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(curl("/images/lb/test-lb.disk"), "root with keys");
    assert_eq!(served.get("/images/lb/test-lb.disk").status, 403);
    // First boot asks without encryption, and can check what it gets.
    let script = curl(&format!("/hosts/{MAC}/boot.ipxe"));
    let sums = served.get(&format!("/hosts/{MAC}/SHA256SUMS"));
    let place = format!("kiln.url=http://{}/hosts/{MAC}/", served.address("http"));
    let pinned = format!("{place}#sha256={} ", Digest::of(&sums.body));
    assert!(script.contains(&pinned), "{script}");
    assert!(
        script.contains(&format!("chain --autofree https://{}/", served.address("https"))),
        "{script}"
    );
}

#[test]
fn an_end_that_is_asked_for_is_no_failure() {
    let site = Site::new(b"root");
    let mut served = site.serve(&[]);
    let pid = rustix::process::Pid::from_child(&served.child);
    let mut idle = served.connect();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    for _ in 0..50 {
        if let Some(status) = served.child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(0));
            let _ = std::io::Read::read(&mut idle, &mut [0]);
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("it goes on");
}
