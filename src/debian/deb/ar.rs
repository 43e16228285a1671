// SPDX-License-Identifier: Apache-2.0
//! The outer container of a `.deb`: ar(5), the common format that deb(5) prescribes.
//!
//! A stream of members; each is a header of 60 bytes, its data, and a byte of padding if the
//! data's length is odd. Nothing is kept in memory.

use std::io::{self, Read};

use super::Error;

const MAGIC: &[u8; 8] = b"!<arch>\n";
/// Name 16, mtime 12, uid 6, gid 6, mode 8, size 10, end 2.
const HEADER: usize = 60;
const HEADER_END: &[u8] = b"`\n";

/// An archive read from its beginning; reading gives the data of the current member.
#[derive(Debug)]
pub(super) struct Archive<R> {
    inner: R,
    /// Bytes consumed, for messages.
    offset: u64,
    /// Bytes of the current member that were not read.
    left: u64,
    padded: bool,
}

impl<R: Read> Archive<R> {
    pub(super) fn open(mut inner: R) -> Result<Self, Error> {
        let mut magic = [0; MAGIC.len()];
        inner.read_exact(&mut magic).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::NotDeb,
            _ => error.into(),
        })?;
        match &magic == MAGIC {
            true => Ok(Self { inner, offset: MAGIC.len() as u64, left: 0, padded: false }),
            false => Err(Error::NotDeb),
        }
    }

    /// Goes to the next member and gives its name; none at the end of the archive.
    pub(super) fn next_member(&mut self) -> Result<Option<String>, Error> {
        io::copy(self, &mut io::sink())?;
        let mut padding = [0; 1];
        if self.padded && self.inner.read(&mut padding)? == 1 {
            self.offset += 1;
        }
        let mut header = [0; HEADER];
        match read_up_to(&mut self.inner, &mut header)? {
            0 => return Ok(None),
            HEADER => {}
            _ => return Err(self.error("its header is cut off")),
        }
        let size = std::str::from_utf8(&header[48..58]).ok().and_then(|text| {
            let text = text.trim_end_matches(' ');
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        });
        if &header[58..] != HEADER_END {
            return Err(self.error("its header does not end in '`' and a line end"));
        }
        self.left = size.ok_or_else(|| self.error("its size is no number"))?;
        let name = std::str::from_utf8(&header[..16])
            .map_err(|_| self.error("its name is not UTF-8"))?
            .trim_end_matches(' ')
            .trim_end_matches('/')
            .to_owned();
        self.padded = self.left % 2 == 1;
        self.offset += HEADER as u64;
        Ok(Some(name))
    }

    fn error(&self, reason: &'static str) -> Error {
        Error::Member { offset: self.offset, reason }
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if len == 0 {
            return Ok(0);
        }
        let read = self.inner.read(&mut buffer[..len])?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the package ends {} bytes before its member does", self.left),
            ));
        }
        self.left -= read as u64;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Fills as much of `buffer` as there is.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
