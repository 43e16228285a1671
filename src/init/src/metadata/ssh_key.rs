// SPDX-License-Identifier: Apache-2.0
//! One line of sshd's AUTHORIZED_KEYS FILE FORMAT (sshd(8)): options, type, base64, comment.

use std::fmt;

use crate::base64;

const LENGTH_MAX: usize = 16 << 10;
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A public key on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey(String);

impl SshKey {
    /// # Errors
    /// The text is no public key. The message does not repeat it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err("expected a public ssh key, found a private one".to_owned());
        }
        if text.len() > LENGTH_MAX {
            return Err(format!("expected an ssh key of at most {LENGTH_MAX} bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err("expected an ssh key on one line, found a control character".to_owned());
        }
        let words: Vec<&str> = text.split(' ').collect();
        let valid = words.windows(2).any(|pair| {
            TYPES.contains(&pair[0])
                && base64::decode(pair[1]).is_ok_and(|blob| names(&blob, pair[0]))
        });
        if !valid {
            return Err("expected a public ssh key, as 'ssh-ed25519 AAAA… comment'".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether the key's blob begins with its own type, as RFC 4253 section 6.6 has it.
fn names(blob: &[u8], kind: &str) -> bool {
    let length = u32::try_from(kind.len()).unwrap_or(0).to_be_bytes();
    blob.strip_prefix(&length).is_some_and(|rest| rest.starts_with(kind.as_bytes()))
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
