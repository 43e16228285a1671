// SPDX-License-Identifier: Apache-2.0
//! A container image made of nothing but bytes of ours.

use kiln::digest::Digest;

/// Name of the image.
pub(crate) const NAME: &str = "kiln.test/hello:1";

/// What the container's program prints.
pub(crate) const GREETING: &str = "hello from a container\n";

/// An OCI image layout as a tar archive: one layer with one program, `/hello`.
pub(crate) fn archive() -> Vec<u8> {
    let layer = tar(&[("hello", &program(), 0o755)]);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        digest(&layer)
    )
    .into_bytes();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
        descriptor("application/vnd.oci.image.config.v1+json", &config),
        descriptor("application/vnd.oci.image.layer.v1.tar", &layer)
    )
    .into_bytes();
    let named = descriptor(MANIFEST, &manifest);
    let named = named.trim_end_matches('}');
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{named},"annotations":{{"io.containerd.image.name":"{NAME}"}}}}]}}"#
    );
    let blobs = [layer, config, manifest];
    let names = blobs.each_ref().map(|blob| format!("blobs/sha256/{}", Digest::of(blob)));
    let mut files = vec![
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice(), 0o644),
        ("index.json", index.as_bytes(), 0o644),
    ];
    files.extend(
        names.iter().zip(&blobs).map(|(name, blob)| (name.as_str(), blob.as_slice(), 0o644)),
    );
    tar(&files)
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest::of(bytes))
}

fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    let size = bytes.len();
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{size}}}"#, digest(bytes))
}

fn tar(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes, mode) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A static ELF program that prints the greeting: headers, seven instructions, the text.
fn program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut code = vec![
        0xb8,
        1,
        0,
        0,
        0, // mov eax, 1: write
        0xbf,
        1,
        0,
        0,
        0, // mov edi, 1: standard output
        0x48,
        0x8d,
        0x35,
        16,
        0,
        0,
        0, // lea rsi, [rip + 16]: the text, behind the code
        0xba,
        u8::try_from(GREETING.len()).unwrap(),
        0,
        0,
        0, // mov edx, length
        0x0f,
        0x05, // syscall
        0xb8,
        60,
        0,
        0,
        0, // mov eax, 60: exit
        0x31,
        0xff, // xor edi, edi
        0x0f,
        0x05, // syscall
    ];
    code.extend_from_slice(GREETING.as_bytes());
    let len = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |size: usize, values: &[u64]| {
        for value in values {
            elf.extend_from_slice(&value.to_le_bytes()[..size]);
        }
    };
    // File header: executable for x86-64, one program header right behind.
    put(2, &[2, 62]);
    put(4, &[1]);
    put(8, &[BASE + HEADERS, 64, 0]);
    put(4, &[0]);
    put(2, &[64, 56, 1, 0, 0, 0]);
    // Program header: load all of it, readable and executable.
    put(4, &[1, 5]);
    put(8, &[0, BASE, BASE, len, len, 0x1000]);
    elf.extend_from_slice(&code);
    elf
}

#[test]
fn the_program_of_the_container_runs_here_too() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hello");
    std::fs::write(&file, program()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = std::process::Command::new(&file).output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), GREETING.as_bytes()));
}
