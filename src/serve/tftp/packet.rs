// SPDX-License-Identifier: Apache-2.0
//! TFTP's packets: RFC 1350, and the options of RFC 2347, 2348 (`blksize`), 2349 (`tsize`, `timeout`).

/// Bytes of a block without the option.
pub(super) const BLOCK: u16 = 512;
/// Bytes of a block that fit one ethernet frame: UDP's pieces are lost by many a firmware.
pub(super) const BLOCK_MAX: u16 = 1468;
const BLOCK_MIN: u16 = 8;
/// Bytes of a file's name.
const NAME_MAX: usize = 255;

/// Error codes of RFC 1350, section 5, and RFC 2347.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Undefined = 0,
    NotFound = 1,
    AccessViolation = 2,
    Illegal = 4,
}

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Read(Wanted),
    Ack(u16),
    /// It wants nothing more.
    Error,
}

/// A request to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) file: String,
    /// Bytes of a block, if it asks for them.
    pub(super) block: Option<u16>,
    /// Whether it asks for the file's size.
    pub(super) size: bool,
    /// Seconds until a packet is sent again, if it asks for them.
    pub(super) timeout: Option<u8>,
}

/// What is wrong with a packet; it is said to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrong(pub(super) Code, pub(super) &'static str);

/// # Errors
/// It is no packet that a reader sends.
pub(super) fn parse(bytes: &[u8]) -> Result<Packet, Wrong> {
    let Some((code, rest)) = bytes.split_first_chunk() else {
        return Err(Wrong(Code::Illegal, "no packet"));
    };
    match u16::from_be_bytes(*code) {
        1 => read(rest).map(Packet::Read),
        2 => Err(Wrong(Code::AccessViolation, "files are read only")),
        4 => match rest {
            [high, low] => Ok(Packet::Ack(u16::from_be_bytes([*high, *low]))),
            _ => Err(Wrong(Code::Illegal, "no acknowledgment")),
        },
        5 => Ok(Packet::Error),
        _ => Err(Wrong(Code::Illegal, "no request to read")),
    }
}

fn read(bytes: &[u8]) -> Result<Wanted, Wrong> {
    let malformed = Wrong(Code::Illegal, "no request to read");
    let text = bytes.strip_suffix(&[0]).ok_or(malformed)?;
    let words = text.split(|byte| *byte == 0).map(std::str::from_utf8);
    let words: Vec<&str> = words.collect::<Result<_, _>>().map_err(|_| malformed)?;
    let [file, mode, options @ ..] = &words[..] else { return Err(malformed) };
    if file.is_empty() || file.len() > NAME_MAX || !options.len().is_multiple_of(2) {
        return Err(malformed);
    }
    if !mode.eq_ignore_ascii_case("octet") {
        return Err(Wrong(Code::Undefined, "mode octet only"));
    }
    let mut wanted = Wanted { file: (*file).to_owned(), block: None, size: false, timeout: None };
    for option in options.chunks_exact(2) {
        let [name, value] = option else { continue };
        let number = value.parse::<u32>().ok();
        // What is not understood is not answered (RFC 2347).
        match name.to_ascii_lowercase().as_str() {
            "blksize" => {
                let block = number.filter(|n| (u32::from(BLOCK_MIN)..=65_464).contains(n));
                let most = u32::from(BLOCK_MAX);
                wanted.block = block.and_then(|n| u16::try_from(n.min(most)).ok());
            }
            "tsize" => wanted.size = true,
            "timeout" => {
                wanted.timeout = number.and_then(|n| u8::try_from(n).ok()).filter(|n| *n > 0);
            }
            _ => {}
        }
    }
    Ok(wanted)
}

/// The options that are granted; none if nothing was asked for.
pub(super) fn granted(wanted: &Wanted, len: u64) -> Option<Vec<u8>> {
    let options = [
        ("blksize", wanted.block.map(|block| block.to_string())),
        ("tsize", wanted.size.then(|| len.to_string())),
        ("timeout", wanted.timeout.map(|seconds| seconds.to_string())),
    ];
    let mut bytes = vec![0, 6];
    for (name, value) in options.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
    }
    (bytes.len() > 2).then_some(bytes)
}

/// The head of a block's packet, whose bytes follow. Numbers go round: 65535, 0, 1, ...
pub(super) fn data(number: u64) -> Vec<u8> {
    let [high, low] = wire(number).to_be_bytes();
    vec![0, 3, high, low]
}

/// A block's number as packets have it.
pub(super) fn wire(number: u64) -> u16 {
    u16::try_from(number & 0xffff).expect("16 bits")
}

pub(super) fn error(Wrong(code, text): Wrong) -> Vec<u8> {
    let mut bytes = vec![0, 5, 0, code as u8];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(text: &str) -> Result<Packet, Wrong> {
        parse(&[&[0, 1], text.replace('|', "\0").as_bytes()].concat())
    }

    #[test]
    fn options_that_are_understood_are_granted() {
        let wanted = |text: &str| match ask(text) {
            Ok(Packet::Read(wanted)) => wanted,
            other => panic!("{other:?}"),
        };
        let plain = wanted("a|OCTET|");
        assert_eq!((plain.file.as_str(), granted(&plain, 7)), ("a", None));
        let all = wanted("a|octet|BlkSize|1432|tsize|0|timeout|3|windowsize|8|");
        assert_eq!(
            granted(&all, 70).unwrap(),
            b"\0\x06blksize\x001432\0tsize\x0070\0timeout\x003\0"
        );
        // More than a frame holds is less than was asked for, which the RFC allows.
        assert_eq!(wanted("a|octet|blksize|65464|").block, Some(BLOCK_MAX));
        for odd in ["7", "65465", "-1", "x", "99999999999"] {
            assert_eq!(wanted(&format!("a|octet|blksize|{odd}|")).block, None, "{odd}");
        }
    }

    #[test]
    fn packets_that_are_none_are_refused() {
        for text in ["", "a", "a|", "a|octet", "|octet|", "a|octet|blksize|", "a|octet|x|1|y|"] {
            assert!(ask(text).is_err(), "{text}");
        }
        assert!(ask(&format!("{}|octet|", "x".repeat(256))).is_err());
        assert_eq!(ask("a|netascii|"), Err(Wrong(Code::Undefined, "mode octet only")));
        for bytes in [
            &b""[..],
            b"\0",
            b"\0\x02a\0octet\0",
            b"\0\x03\0\x01",
            b"\0\x04\0",
            b"\x01\x01a\0octet\0",
            b"\0\x01\xff\0octet\0",
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(parse(b"\0\x04\x01\x02"), Ok(Packet::Ack(0x0102)));
        assert_eq!(parse(b"\0\x05\0\x08"), Ok(Packet::Error));
    }

    #[test]
    fn numbers_of_blocks_go_round() {
        assert_eq!(data(65_535), [0, 3, 0xff, 0xff]);
        assert_eq!(data(65_536), [0, 3, 0, 0]);
        assert_eq!(data(65_537), [0, 3, 0, 1]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100), code in 0_u8..7) {
            let _ = parse(&bytes);
            let _ = parse(&[&[0, code], &bytes[..]].concat());
        }
    }
}
