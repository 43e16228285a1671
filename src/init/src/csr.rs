// SPDX-License-Identifier: Apache-2.0
//! What a certificate request asks for (PKCS #10, RFC 2986): its common name and its alternative
//! names.
//!
//! Only as much of DER (X.690) as such a request has, read strictly: what is not understood is no
//! request. Signatures are not checked; whoever signs the certificate does that.

use std::net::IpAddr;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const ATTRIBUTES: u8 = 0xa0;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
/// 1.2.840.113549.1.9.14.
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];

/// Names that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    pub common_name: String,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

impl Request {
    /// Reads the first request of a PEM text. None if it has none that is understood whole.
    pub fn from_pem(pem: &str) -> Option<Self> {
        let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE REQUEST-----")?;
        let (body, _) = rest.split_once("-----END CERTIFICATE REQUEST-----")?;
        let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        Self::from_der(&crate::base64::decode(&body).ok()?)
    }

    /// Reads a request.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let mut outer = Der(Der(der).only(SEQUENCE)?);
        let mut info = Der(outer.take(SEQUENCE)?);
        info.take(INTEGER)?;
        let subject = info.take(SEQUENCE)?;
        info.take(SEQUENCE)?;
        let mut request = Self { common_name: common_name(subject)?, ..Self::default() };
        let mut attributes = Der(info.take(ATTRIBUTES)?);
        while !attributes.0.is_empty() {
            let mut attribute = Der(attributes.take(SEQUENCE)?);
            if attribute.take(OID)? == EXTENSION_REQUEST {
                let extensions = Der(attribute.take(SET)?).only(SEQUENCE)?;
                request.read_extensions(extensions)?;
            }
        }
        info.0.is_empty().then_some(request)
    }

    fn read_extensions(&mut self, extensions: &[u8]) -> Option<()> {
        let mut extensions = Der(extensions);
        while !extensions.0.is_empty() {
            let mut extension = Der(extensions.take(SEQUENCE)?);
            let is_names = extension.take(OID)? == ALTERNATIVE_NAMES;
            if extension.0.first() == Some(&BOOLEAN) {
                extension.take(BOOLEAN)?;
            }
            let value = extension.take(OCTET_STRING)?;
            if is_names {
                self.read_names(Der(value).only(SEQUENCE)?)?;
            }
        }
        Some(())
    }

    /// Any other kind of name than these two is none that is understood.
    fn read_names(&mut self, names: &[u8]) -> Option<()> {
        let mut names = Der(names);
        while !names.0.is_empty() {
            match names.next()? {
                (DNS_NAME, text) => self.dns_names.push(ascii(text)?),
                (IP_ADDRESS, bytes) => self.addresses.push(match bytes.len() {
                    4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
                    16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
                    _ => return None,
                }),
                _ => return None,
            }
        }
        Some(())
    }
}

/// The only common name of a subject.
fn common_name(subject: &[u8]) -> Option<String> {
    let mut found = None;
    let mut sets = Der(subject);
    while !sets.0.is_empty() {
        let mut pairs = Der(sets.take(SET)?);
        while !pairs.0.is_empty() {
            let mut pair = Der(pairs.take(SEQUENCE)?);
            let is_name = pair.take(OID)? == COMMON_NAME;
            let (tag, text) = pair.next()?;
            if is_name && (found.is_some() || !matches!(tag, UTF8_STRING | PRINTABLE_STRING)) {
                return None;
            }
            if is_name {
                found = Some(ascii(text)?);
            }
        }
    }
    found
}

fn ascii(bytes: &[u8]) -> Option<String> {
    let visible = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    visible.then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// Elements that are still to be read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // The shortest form only, as DER has it.
            0x81 => {
                let (&[len], rest) = rest.split_first_chunk()?;
                (usize::from(len).checked_sub(0x80)? + 0x80, rest)
            }
            0x82 => {
                let (len, rest) = rest.split_first_chunk()?;
                let len = usize::from(u16::from_be_bytes(*len));
                (len.checked_sub(0x100)? + 0x100, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }

    /// The content of the only element.
    fn only(mut self, wanted: u8) -> Option<&'a [u8]> {
        self.take(wanted).filter(|_| self.0.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// A request by openssl.
    fn request(subject: &str, names: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let output = Command::new("openssl")
            .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-subj", subject, "-addext", names, "-keyout"])
            .arg(&key)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn names_of_a_request_are_read() {
        let pem = request(
            "/O=system:nodes/CN=system:node:n1",
            "subjectAltName=DNS:n1,IP:192.168.31.35,IP:2001:db8::1",
        );
        let expected = Request {
            common_name: "system:node:n1".to_owned(),
            dns_names: vec!["n1".to_owned()],
            addresses: vec!["192.168.31.35".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        };
        assert_eq!(Request::from_pem(&pem), Some(expected));
    }

    #[test]
    fn a_request_that_is_not_understood_whole_is_none() {
        assert_eq!(Request::from_pem(&request("/CN=a", "subjectAltName=email:a@b.c")), None);
        assert_eq!(Request::from_pem(&request("/CN=a/CN=b", "subjectAltName=DNS:a")), None);
        assert_eq!(Request::from_pem(&request("/O=a", "subjectAltName=DNS:a")), None);
        assert_eq!(Request::from_pem("-----BEGIN CERTIFICATE REQUEST-----"), None);
        assert_eq!(Request::from_der(&[]), None);
        // A length that DER would write shorter.
        assert_eq!(Der(&[SEQUENCE, 0x81, 1, 0]).next(), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::from_der(&bytes);
        }
    }
}
