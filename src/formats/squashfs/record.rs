// SPDX-License-Identifier: Apache-2.0
//! Little-endian fields, in order: [`Record`] writes them, [`Fields`] reads them.

use super::ReadError;

/// A structure being encoded.
pub(super) struct Record(Vec<u8>);

impl Record {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(64))
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn i16(self, value: i16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A structure being decoded. `base` is where it lies, for messages.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    base: u64,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, at: 0, base }
    }

    /// Where the next field lies.
    pub(super) fn offset(&self) -> u64 {
        self.base.saturating_add(self.at as u64)
    }

    /// How many bytes were read.
    pub(super) fn read(&self) -> usize {
        self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], ReadError> {
        let taken = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(ReadError::Truncated { offset: self.offset() })?;
        self.at = self.at.saturating_add(len);
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        Ok(self.bytes(N)?.try_into().expect("N bytes were taken"))
    }

    pub(super) fn u16(&mut self) -> Result<u16, ReadError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn expect_u16(
        &mut self,
        what: &'static str,
        expected: u16,
    ) -> Result<(), ReadError> {
        let found = self.u16()?;
        expect(what, expected.into(), found.into())
    }

    pub(super) fn expect_u32(
        &mut self,
        what: &'static str,
        expected: u32,
    ) -> Result<(), ReadError> {
        let found = self.u32()?;
        expect(what, expected.into(), found.into())
    }
}

fn expect(what: &'static str, expected: u64, found: u64) -> Result<(), ReadError> {
    if found == expected { Ok(()) } else { Err(ReadError::Unsupported { what, expected, found }) }
}
