// SPDX-License-Identifier: Apache-2.0
//! A container image made of nothing but bytes of ours.

use kiln::{
    formats::oci::{self, Program},
    tree::{Content, TreePath},
};

/// Name of the image.
pub(crate) const NAME: &str = "kiln.test/hello:1";

/// What the container's program prints.
pub(crate) const GREETING: &str = "hello from a container\n";

/// An archive of one image with one program, `/hello`.
pub(crate) fn archive() -> Vec<u8> {
    let program = Program {
        path: TreePath::literal("/hello"),
        content: Content::bytes(program()),
        certificates: None,
        user: (0, 0),
        epoch: 0,
    };
    let image = program.image(NAME.parse().unwrap()).unwrap();
    oci::archive(&[image]).unwrap().to_vec().unwrap()
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
