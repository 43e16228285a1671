// SPDX-License-Identifier: Apache-2.0
//! HTTPS: a certificate that the site brings.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio_rustls::TlsAcceptor;

use super::Certificate;
use crate::error::refuse;

/// # Errors
/// One of both is not what it should be, or they do not belong together.
pub(super) fn acceptor(certificate: &Certificate) -> Result<TlsAcceptor> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificate.chain)
        .collect::<Result<_, _>>()
        .map_err(|error| refuse(error, "--tls-cert names a file with PEM certificates"))?;
    if chain.is_empty() {
        return Err(refuse("no certificate", "--tls-cert names a file with PEM certificates"));
    }
    let key = PrivateKeyDer::from_pem_slice(&certificate.key)
        .map_err(|_| refuse("no private key", "--tls-key names a file with one PEM key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("setting up TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| refuse(error, "--tls-cert and --tls-key must belong together"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
