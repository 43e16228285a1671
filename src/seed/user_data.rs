// SPDX-License-Identifier: Apache-2.0
//! user-data: the host's own certificates and keys, as cloud-config's `write_files`.
//!
//! Contents are base64, so that no byte of them is read as YAML. First boot writes them into the
//! memory layer of `/etc`, at every boot, from the medium or from what it kept of it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::pki::delivery::NodeFile;

/// cloud-init asks for user-data to be there, also if it says nothing.
#[derive(Serialize)]
struct CloudConfig<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    write_files: Vec<WriteFile<'a>>,
}

#[derive(Serialize)]
struct WriteFile<'a> {
    path: &'a str,
    owner: String,
    permissions: String,
    encoding: &'static str,
    content: String,
}

/// The document that writes `files`.
pub(super) fn document(files: &[NodeFile]) -> serde_json::Result<String> {
    let write_files = files.iter().map(|file| WriteFile {
        path: &file.path,
        owner: format!("{0}:{0}", file.owner),
        permissions: format!("{:04o}", file.mode),
        encoding: "b64",
        content: STANDARD.encode(&file.content),
    });
    let config = CloudConfig { write_files: write_files.collect() };
    Ok(format!("#cloud-config\n{}", serde_json::to_string_pretty(&config)?))
}
