// SPDX-License-Identifier: Apache-2.0
//! Who somebody is at registries and stores: read from where other tools leave it.
#![expect(clippy::disallowed_methods, reason = "the I/O ring")]

use std::path::PathBuf;

use anyhow::Result;

use crate::kubernetes::settings::Secret;

/// What the environment says, unchecked.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// `config.json` of docker: where it is, and its text.
    pub docker_config: Option<(PathBuf, Secret)>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
    pub session_token: Option<Secret>,
    pub region: Option<String>,
    pub endpoint: Option<String>,
}

/// Reads `$DOCKER_CONFIG/config.json`, else `$HOME/.docker/config.json`, and the variables that
/// Amazon's own tools read.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read() -> Result<Credentials> {
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let first = |names: [&str; 2]| names.into_iter().find_map(text);
    let folder = match text("DOCKER_CONFIG") {
        Some(folder) => Some(PathBuf::from(folder)),
        None => text("HOME").map(|home| PathBuf::from(home).join(".docker")),
    };
    let mut docker_config = None;
    if let Some(path) = folder.map(|folder| folder.join("config.json")) {
        let config = super::fs::read_text_if_present(&path)?;
        docker_config = config.map(|config| (path, Secret::new(config)));
    }
    Ok(Credentials {
        docker_config,
        access_key_id: text("AWS_ACCESS_KEY_ID"),
        secret_access_key: text("AWS_SECRET_ACCESS_KEY").map(Secret::new),
        session_token: text("AWS_SESSION_TOKEN").map(Secret::new),
        region: first(["AWS_REGION", "AWS_DEFAULT_REGION"]),
        endpoint: first(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
    })
}
