// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;

#[path = "../../../tests/support/disk_images.rs"]
pub(crate) mod images;

fn stub(n_free: usize) -> Vec<u8> {
    images::stub(n_free, &[0; 16])
}

fn data<'a>(name: &'a str, data: &'a [u8]) -> NewSection<'a> {
    NewSection { name, usage: Usage::Data, data }
}

#[test]
fn appended_sections_have_these_rows() {
    let kernel = vec![7; 0x1201];
    let sections =
        [data(".osrel", b"ID=x"), NewSection { name: ".linux", usage: Usage::Code, data: &kernel }];
    let bytes = append(&stub(2), &sections).unwrap();
    assert_eq!(
        Image::decode(&bytes).unwrap().to_string(),
        "PE32+ x86-64 subsystem 10 headers 0x1e8 image 0x6000 alignment 0x1000/0x200 nx-compat\n\
         .text    address 0x00001000 size 0x00000001 file 0x00000200+0x00000200 flags 0x40000040\n\
         .sbat    address 0x00002000 size 0x00000010 file 0x00000400+0x00000200 flags 0x40000040\n\
         .osrel   address 0x00003000 size 0x00000004 file 0x00000600+0x00000200 flags 0x40000040\n\
         .linux   address 0x00004000 size 0x00001201 file 0x00000800+0x00001400 flags 0x40000020\n"
    );
    let image = Image::decode(&bytes).unwrap();
    assert_eq!(image.data(&bytes, ".osrel"), Some(&b"ID=x"[..]));
    assert_eq!(image.data(&bytes, ".linux"), Some(&kernel[..]));
    let optional = image.pe + COFF_LEN;
    assert_eq!(bytes[optional + CHECK_SUM..][..4], [0; 4]);
    assert_eq!(u32_at(&bytes, optional + SIZE_OF_INITIALIZED_DATA, ""), Ok(0x1205));
}

#[test]
fn sections_that_do_not_fit_are_refused() {
    let full = append(&stub(1), &[data(".a", b"1"), data(".b", b"2")]);
    assert_eq!(full, Err(Error::HeaderFull { name: ".b".into() }));
    let name = append(&stub(1), &[data(".muchtoolong", b"1")]);
    assert_eq!(name, Err(Error::BadName { name: ".muchtoolong".into() }));
    let twice = append(&stub(1), &[data(".sbat", b"1")]);
    assert_eq!(twice, Err(Error::Duplicate { name: ".sbat".into() }));
}

#[test]
fn a_signed_stub_is_refused() {
    let mut signed = stub(1);
    let image = Image::decode(&signed).unwrap();
    put(&mut signed, image.optional(DIRECTORIES + DIRECTORY_SECURITY * 8), &[1]);
    assert_eq!(append(&signed, &[]), Err(Error::Signed));
}

#[test]
fn data_is_replaced_in_place_or_not_at_all() {
    let mut bytes = stub(0);
    replace(&mut bytes, ".sbat", b"sbat,1").unwrap();
    let image = Image::decode(&bytes).unwrap();
    assert_eq!(image.data(&bytes, ".sbat"), Some(&b"sbat,1"[..]));
    let error = Error::NoRoom { name: ".sbat".into(), len: 0x201, room: 0x200 };
    assert_eq!(replace(&mut bytes, ".sbat", &[0; 0x201]), Err(error));
}

#[test]
fn nx_compat_can_be_taken_away() {
    let mut bytes = stub(0);
    clear_nx_compat(&mut bytes).unwrap();
    assert!(!Image::decode(&bytes).unwrap().nx_compat);
}

#[test]
fn an_image_cut_anywhere_is_refused() {
    let bytes = stub(1);
    for len in 0..bytes.len() {
        assert!(Image::decode(&bytes[..len]).is_err(), "{len}");
    }
}

#[test]
fn foreign_machines_are_refused_with_both_values() {
    let mut bytes = stub(0);
    put(&mut bytes, 0x40 + COFF_MACHINE, &0x14c_u16.to_le_bytes());
    assert_eq!(
        Image::decode(&bytes).unwrap_err().to_string(),
        "the machine at offset 0x44 of the PE image is 0x14c, expected 0x8664 (x86-64)"
    );
}

proptest! {
    #[test]
    fn changed_headers_never_panic(changes: Vec<(u16, u8)>) {
        let mut bytes = stub(1);
        for (at, value) in changes {
            let at = usize::from(at) % 0x300;
            bytes[at] = value;
        }
        let _ = append(&bytes, &[data(".new", b"1")]);
        let _ = replace(&mut bytes, ".sbat", b"1");
    }
}
