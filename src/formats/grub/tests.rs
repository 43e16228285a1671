// SPDX-License-Identifier: Apache-2.0
//! GRUB's files in small: programs that only have the fields that are looked at.

use proptest::prelude::*;

use super::*;

/// A 32-bit ELF file with sections: kind, flags, address, data or length.
fn elf(sections: &[(u32, u32, u32, &[u8], u32)]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x01\x01\x01".to_vec();
    bytes.resize(0x34, 0);
    let mut headers = vec![0; 40];
    for (kind, flags, address, data, len) in sections {
        let offset = bytes.len() as u32;
        bytes.extend(*data);
        for word in [0, *kind, *flags, *address, offset, *len, 0, 0, 1, 0] {
            headers.extend(word.to_le_bytes());
        }
    }
    let at = bytes.len() as u32;
    bytes[0x20..0x24].copy_from_slice(&at.to_le_bytes());
    bytes[0x2e..0x30].copy_from_slice(&40_u16.to_le_bytes());
    bytes[0x30] = u8::try_from(sections.len() + 1).unwrap();
    bytes.extend(headers);
    bytes
}

/// GRUB's files.
pub(crate) fn files() -> BTreeMap<String, Content> {
    let mut boot = vec![0; SECTOR];
    boot[BOOT_DRIVE] = DRIVE_OF_FIRMWARE;
    boot[DRIVE_CHECK..][..2].copy_from_slice(&[SHORT_JUMP, 5]);
    boot[510..].copy_from_slice(&[0x55, 0xaa]);
    let mut disk_boot = vec![7; SECTOR];
    disk_boot[BLOCK_LIST..].fill(0);
    disk_boot[BLOCK_LIST + 10..].copy_from_slice(&SECOND_SEGMENT);
    let mut decompressor = vec![9; 100];
    decompressor[..DECOMPRESSOR_HEADER].fill(0);
    let kernel = elf(&[
        (1, 6, 0x9000, b"kernel code", 11),
        (1, 2, 0x9010, b"data", 4),
        (8, 3, 0x9020, b"", 0x1000),
        (3, 0, 0, b"names", 5),
    ]);
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::from([
        ("boot.img".into(), boot),
        ("diskboot.img".into(), disk_boot),
        ("lzma_decompress.img".into(), decompressor),
        ("kernel.img".into(), kernel),
        ("moddep.lst".into(), b"linux: boot normal\nnormal: crypto boot\ncrypto:\nboot:\n".into()),
    ]);
    for name in ["boot", "crypto", "linux", "normal"] {
        files.insert(format!("{name}.mod"), name.as_bytes().to_vec());
    }
    files.into_iter().map(|(name, bytes)| (name, Content::bytes(bytes))).collect()
}

fn core(files: &BTreeMap<String, Content>) -> Core<'_> {
    Core { files, modules: &["linux"], script: "boot\n", prefix: "(,gpt1)/loader" }
}

#[test]
fn the_first_sector_names_the_second_program() {
    let code = boot_code(&files(), 2048).unwrap();
    assert_eq!(code.len(), BOOT_CODE);
    assert_eq!(code[0x5c..0x64], 2048_u64.to_le_bytes());
    assert_eq!(code[0x64..0x68], [0xff, 0, 0x90, 0x90]);
}

#[test]
fn a_core_image_is_unpacked_as_it_was_made() {
    let files = files();
    let image = core(&files).encode(2048).unwrap();
    assert!(image.len().is_multiple_of(SECTOR));
    assert_eq!(image[500..508], 2049_u64.to_le_bytes());
    assert_eq!(image[508..512], [u8::try_from(image.len() / SECTOR - 1).unwrap(), 0, 0x20, 0x08]);
    let payload = unpack(&image, 100).unwrap();
    assert_eq!(payload, core(&files).payload().unwrap());
    assert!(payload.starts_with(b"kernel code\0\0\0\0\0datamimg\x0c\0\0\0"), "{payload:?}");
    let objects = objects(&payload).unwrap();
    let objects: Vec<_> =
        objects.iter().map(|(kind, data)| (*kind, data.escape_ascii().to_string())).collect();
    let expected = [
        (OBJECT_MODULE, "boot"),
        (OBJECT_MODULE, r"crypto\x00\x00"),
        (OBJECT_MODULE, r"normal\x00\x00"),
        (OBJECT_MODULE, r"linux\x00\x00\x00"),
        (OBJECT_CONFIG, r"boot\n\x00\x00\x00"),
        (OBJECT_PREFIX, r"(,gpt1)/loader\x00\x00"),
    ];
    assert_eq!(objects, expected.map(|(kind, data)| (kind, data.to_owned())));
}

#[test]
fn modules_that_need_one_another_are_taken_once() {
    let mut files = files();
    files.insert("moddep.lst".into(), Content::bytes(&b"linux: boot\nboot: linux\n"[..]));
    assert_eq!(core(&files).resolved().unwrap(), ["boot", "linux"]);
}

#[test]
fn files_of_another_form_are_refused_by_name() {
    let refused = |name: &str, bytes: &[u8]| {
        let mut files = files();
        files.insert(name.into(), Content::bytes(bytes));
        let boot = boot_code(&files, 1).and_then(|_| core(&files).encode(1));
        boot.unwrap_err().to_string()
    };
    let form = "is not what this kiln knows";
    assert_eq!(refused("boot.img", b"x"), format!("GRUB's 'boot.img' {form}: not 512 bytes"));
    assert_eq!(
        refused("diskboot.img", &[0; 512]),
        format!("GRUB's 'diskboot.img' {form}: no list of blocks")
    );
    assert_eq!(
        refused("kernel.img", b"MZ"),
        format!("GRUB's 'kernel.img' {form}: no 32-bit ELF file")
    );
    assert_eq!(refused("moddep.lst", b"boot:\n"), "GRUB's files lack 'linux.mod'");
    let large = elf(&[(1, 6, 0x9000, b"", 0), (8, 3, 0x6_0000, b"", 0x9000)]);
    let memory = "GRUB's core image takes 430080 bytes of memory, 425984 are there";
    assert_eq!(refused("kernel.img", &large), memory);
}

#[test]
fn a_core_image_that_memory_does_not_hold_is_refused() {
    let mut files = files();
    let mut noise = crate::digest::Digest::of(b"noise");
    let mut module = Vec::new();
    while module.len() < IMAGE_END {
        module.extend(noise.as_bytes());
        noise = crate::digest::Digest::of(noise.as_bytes());
    }
    files.insert("linux.mod".into(), Content::bytes(module));
    let error = core(&files).encode(1).unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 0x6f000, .. }), "{error}");
}

proptest! {
    #[test]
    fn any_script_and_module_come_back(script in "[ -~\n]{0,300}", module: Vec<u8>) {
        let mut files = files();
        files.insert("linux.mod".into(), Content::bytes(module.clone()));
        let image = Core { script: &script, ..core(&files) }.encode(34).unwrap();
        let payload = unpack(&image, 100).unwrap();
        let objects = objects(&payload).unwrap();
        prop_assert!(objects[3].1.starts_with(&module));
        let text = objects[4].1.strip_suffix(b"\0").unwrap();
        prop_assert!(text.starts_with(script.as_bytes()));
    }

    #[test]
    fn altered_bytes_never_panic(at in 0usize..900, value: u8, cut in 0usize..2000) {
        let whole = files();
        let mut image = core(&whole).encode(34).unwrap();
        image.truncate(cut.min(image.len()));
        if let Some(byte) = image.get_mut(at) {
            *byte = value;
        }
        if let Ok(payload) = unpack(&image, 100) {
            drop(objects(&payload));
        }
        let mut files = whole;
        let mut bytes = files["kernel.img"].to_vec().unwrap();
        if let Some(byte) = bytes.get_mut(at % 300) {
            *byte = value;
        }
        files.insert("kernel.img".into(), Content::bytes(bytes));
        drop(core(&files).payload());
    }
}
