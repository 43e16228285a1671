// SPDX-License-Identifier: Apache-2.0
//! Boot programs small enough to read: a stub and a kernel that only have headers.

/// Offset of the PE signature.
const PE: usize = 0x40;
/// Offset of the optional header, and its length.
const OPTIONAL: usize = PE + 24;
const OPTIONAL_LEN: usize = 0xf0;
const TABLE: usize = OPTIONAL + OPTIONAL_LEN;
const ROW: usize = 40;

/// An EFI program of a `.text` and a `.sbat` section with room for `n_free` more.
pub(crate) fn stub(n_free: usize, sbat: &[u8]) -> Vec<u8> {
    let headers = TABLE + (2 + n_free) * ROW;
    let first_data = headers.next_multiple_of(0x200);
    let mut bytes = vec![0; first_data + 0x400];
    let mut put = |at: usize, new: &[u8]| bytes[at..at + new.len()].copy_from_slice(new);
    put(0, b"MZ");
    put(0x3c, &(PE as u32).to_le_bytes());
    put(PE, b"PE\0\0\x64\x86\x02\0");
    put(PE + 20, &(OPTIONAL_LEN as u16).to_le_bytes());
    // EXECUTABLE_IMAGE | LINE_NUMS_STRIPPED | LARGE_ADDRESS_AWARE.
    put(PE + 22, &0x26_u16.to_le_bytes());
    put(OPTIONAL, b"\x0b\x02");
    for (at, value) in [
        (24, 0x1000_0000),
        (32, 0x1000),
        (36, 0x200),
        (56, 0x3000),
        (60, headers as u32),
        (64, 0x1234),
        // EFI application, NX_COMPAT.
        (68, 0x0100_000a),
        (108, 16),
    ] {
        put(OPTIONAL + at, &u32::to_le_bytes(value));
    }
    for (index, (name, data)) in [(".text", &b"\xc3"[..]), (".sbat", sbat)].iter().enumerate() {
        let row = TABLE + index * ROW;
        let raw = first_data + 0x200 * index;
        put(row, name.as_bytes());
        for (at, value) in
            [(8, data.len()), (12, 0x1000 * (index + 1)), (16, 0x200), (20, raw), (36, 0x4000_0040)]
        {
            put(row + at, &(value as u32).to_le_bytes());
        }
        put(raw, data);
    }
    bytes
}

/// The stub with the header of a 64-bit bzImage with EFI entry.
pub(crate) fn kernel(sbat: &[u8]) -> Vec<u8> {
    let mut bytes = stub(20, sbat);
    bytes[0x1fe..0x206].copy_from_slice(b"\x55\xaa\0\0HdrS");
    bytes[0x236] = 0b1001;
    bytes
}
