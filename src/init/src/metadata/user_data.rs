// SPDX-License-Identifier: Apache-2.0
//! user-data: `#cloud-config`, also as a Jinja template of it and compressed.

use serde_json::Value;

use super::{Metadata, cloud_config};
use crate::{
    gzip,
    template::Engine,
    yaml::{self, DOCUMENT_MAX, Problem},
};

const EXPECTED: &str = "#cloud-config";
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads the document that messages call `file`; `values` is what a template in it sees.
pub(super) fn read(
    bytes: &[u8],
    file: &'static str,
    values: impl FnOnce(&Metadata) -> Value,
    metadata: &mut Metadata,
) -> Result<(), Problem> {
    let plain;
    let bytes = if bytes.starts_with(&GZIP) {
        plain = gzip::decompress(bytes, DOCUMENT_MAX)
            .map_err(|error| Problem::whole(error.to_string()))?;
        &plain
    } else {
        bytes
    };
    let text = yaml::text_of(bytes)?;
    if text.trim().is_empty() {
        return Ok(());
    }
    let rendered;
    let text = if is_template(text) {
        // In place of the header, so that lines are counted as in the document.
        rendered = format!("\n{}", render(text, file, &values(metadata))?);
        &*rendered
    } else {
        text
    };
    // As cloud-init does, blank lines before the header are passed over.
    let blank = text.len() - text.trim_start().len();
    let line = text.get(..blank).unwrap_or_default().matches('\n').count() + 1;
    let first = text.trim_start().lines().next().unwrap_or("").trim_end();
    if first == EXPECTED {
        return cloud_config::read(text, file, metadata);
    }
    let found = match first {
        _ if first.starts_with("#!") => "a script: put a unit into the image's profile instead",
        _ if first.starts_with("Content-Type:") || first.starts_with("MIME-Version:") => {
            "MIME parts: deliver the cloud-config alone"
        }
        _ if first.starts_with("#include") => {
            "a list of addresses: deliver the cloud-config itself"
        }
        _ if first.starts_with("#cloud-boothook") || first.starts_with("#part-handler") => {
            "a program: put a unit into the image's profile instead"
        }
        _ if first.starts_with("#cloud-config-") => "another kind of cloud-config",
        _ => "something else",
    };
    let message = format!("expected '{EXPECTED}', found {found}");
    Err(Problem { line, key: String::new(), message })
}

fn is_template(text: &str) -> bool {
    let first = text.lines().next().unwrap_or("");
    first.strip_prefix("##").is_some_and(|rest| {
        rest.trim_start()
            .get(.."template:".len())
            .is_some_and(|it| it.eq_ignore_ascii_case("template:"))
    })
}

fn render(text: &str, file: &'static str, values: &Value) -> Result<String, Problem> {
    let mut engine = Engine::new();
    let rendered = engine.add(file, text).and_then(|()| engine.render(file, values));
    rendered.map_err(|error| Problem {
        line: error.line,
        key: String::new(),
        message: error.message,
    })
}
