// SPDX-License-Identifier: Apache-2.0
//! A token and a key for what is generated with secrets; neither opens anything.

use kiln::kubernetes::{
    configs::{Cipher, EncryptionKey},
    kubeconfig::BootstrapToken,
    settings::Secret,
};

pub(crate) fn token() -> BootstrapToken {
    let token = Secret::new("abcdef.0123456789abcdef");
    BootstrapToken::parse(&token, "2030-01-31T12:00:00Z").expect("a token")
}

pub(crate) fn encryption_key() -> EncryptionKey {
    let key = Secret::new("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    EncryptionKey::new(Cipher::Secretbox, "key-1", &key).expect("a key")
}
