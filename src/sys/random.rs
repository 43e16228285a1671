// SPDX-License-Identifier: Apache-2.0
//! Randomness, for certificates alone: the one place that asks for keys and serial numbers.
#![expect(clippy::disallowed_methods, reason = "the I/O ring")]

use anyhow::{Context as _, Result};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::pki::authority::Fresh;

/// As many random bytes as a token or a symmetric key needs.
pub fn bytes() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom(&mut bytes, GetRandomFlags::empty()).context("asking the kernel for randomness")?;
    Ok(bytes)
}

/// A new key and serial number.
pub fn fresh() -> Result<Fresh> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("making a key")?;
    let mut serial = [0; 16];
    // The kernel gives up to 256 bytes at once or none.
    getrandom(&mut serial, GetRandomFlags::empty()).context("asking the kernel for randomness")?;
    Ok(Fresh { key, serial })
}
