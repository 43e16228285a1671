// SPDX-License-Identifier: Apache-2.0
//! A token and a key for what is generated with secrets; neither opens anything.

use kiln::kubernetes::{
    configs::{Cipher, EncryptionKey, EncryptionKeys},
    kubeconfig::BootstrapToken,
    settings::Secret,
};

pub(crate) fn token() -> BootstrapToken {
    let token = Secret::new("abcdef.0123456789abcdef");
    BootstrapToken::parse(&token, "2030-01-31T12:00:00Z").expect("a token")
}

pub(crate) fn encryption_keys() -> EncryptionKeys {
    let key = Secret::new("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let key = EncryptionKey::new("key-1", &key).expect("a key");
    EncryptionKeys::new(Cipher::Secretbox, vec![key]).expect("a list of one key")
}
