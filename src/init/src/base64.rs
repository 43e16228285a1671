// SPDX-License-Identifier: Apache-2.0
//! Base64 of RFC 4648 section 4, with padding: SMBIOS strings, the command line and templates.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A text that is no base64, with the offset of the first wrong byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not base64 at byte {offset}")]
pub struct Invalid {
    pub offset: usize,
}

pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = 0_u32;
        for index in 0..3 {
            bits = bits << 8 | u32::from(group.get(index).copied().unwrap_or(0));
        }
        for index in 0..4 {
            let six = usize::try_from(bits >> (18 - 6 * index) & 63).unwrap_or(0);
            let padding = index > group.len() as u32;
            text.push(if padding { '=' } else { char::from(ALPHABET[six]) });
        }
    }
    text
}

/// Decodes `text`; white space between the digits is ignored.
///
/// # Errors
/// A foreign character, wrong padding, bits behind the last byte.
pub fn decode(text: &str) -> Result<Vec<u8>, Invalid> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut bits = 0_u32;
    let mut n_digits = 0;
    let mut n_padding = 0;
    for (offset, byte) in text.bytes().enumerate() {
        if byte.is_ascii_whitespace() {
            continue;
        }
        let invalid = Invalid { offset };
        if byte == b'=' {
            n_padding += 1;
            if n_padding + n_digits > 4 || n_digits < 2 {
                return Err(invalid);
            }
            continue;
        }
        if n_padding > 0 {
            return Err(invalid);
        }
        bits = bits << 6 | digit(byte).ok_or(invalid)?;
        n_digits += 1;
        if n_digits == 4 {
            bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
            (bits, n_digits) = (0, 0);
        }
    }
    let end = Invalid { offset: text.len() };
    match (n_digits, n_padding) {
        (0, 0) => {}
        (2, 2) if bits & 0xf == 0 => bytes.push((bits >> 4).to_be_bytes()[3]),
        (3, 1) if bits & 0x3 == 0 => bytes.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
        _ => return Err(end),
    }
    Ok(bytes)
}

fn digit(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_test_vectors_of_rfc_4648_hold() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn wrong_texts_are_refused_with_the_offset() {
        for (text, offset) in [
            ("Zg", 2),
            ("Zg=", 3),
            ("Zh==", 4),
            ("Z===", 1),
            ("Zm9v!", 4),
            ("Zg==Zg==", 4),
            ("=", 0),
        ] {
            assert_eq!(decode(text), Err(Invalid { offset }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_decoded_or_refused(text: String) {
            let _ = decode(&text);
        }
    }
}
