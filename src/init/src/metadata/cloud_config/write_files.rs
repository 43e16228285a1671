// SPDX-License-Identifier: Apache-2.0
//! `write_files`: files with their content, as cloud-config spells them.
//!
//! Which paths metadata may write is the image's decision and is checked when the host is
//! decided; here each entry becomes a value that is well-formed.

use super::Place;
use crate::{
    base64, gzip,
    yaml::{At, DOCUMENT_MAX, Problem, printable},
};

const FILES_MAX: usize = 64;
/// Bytes of all files together, decoded.
const TOTAL_MAX: usize = 4 * DOCUMENT_MAX;
const KNOWN: [&str; 7] = ["path", "content", "encoding", "owner", "permissions", "append", "defer"];
const ENCODINGS: &str = "text/plain, b64 or gz+b64";

/// A file that metadata asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFile {
    /// Absolute, without `.` and `..`.
    pub path: String,
    pub content: Vec<u8>,
    pub owner: String,
    pub group: String,
    /// At most 0777.
    pub mode: u16,
    pub place: Place,
}

impl WriteFile {
    /// The path, if it is absolute and plain.
    ///
    /// # Errors
    /// What was expected and found.
    pub fn check_path(path: &str) -> Result<String, String> {
        let plain = path.strip_prefix('/').is_some_and(|relative| {
            relative.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 200)
        });
        if plain && path.len() <= 1024 && !path.chars().any(char::is_control) {
            return Ok(path.to_owned());
        }
        let found: String = printable(path).chars().take(80).collect();
        Err(format!("expected an absolute path without '.' and '..', found '{found}'"))
    }
}

pub(super) fn read(
    at: &At<'_>,
    file: &'static str,
    files: &mut Vec<WriteFile>,
) -> Result<(), Problem> {
    let items = at.items()?;
    if items.len() > FILES_MAX {
        return Err(at.problem(format!("more than {FILES_MAX} files")));
    }
    let mut total = 0;
    for item in items {
        let one = read_one(&item, file)?;
        total += one.content.len();
        if total > TOTAL_MAX {
            return Err(item.problem(format!("the files have more than {TOTAL_MAX} bytes")));
        }
        files.push(one);
    }
    Ok(())
}

fn read_one(item: &At<'_>, file: &'static str) -> Result<WriteFile, Problem> {
    if item.is_map()
        && let Some((_, at)) = item.entries()?.into_iter().find(|(key, _)| *key == "source")
    {
        return Err(at.problem("content from elsewhere is not fetched; give 'content'"));
    }
    let fields = item.fields(&KNOWN)?;
    let at = fields.get("path").ok_or_else(|| item.problem("missing key 'path'"))?;
    let path = at.string("a path")?;
    let path = WriteFile::check_path(path).map_err(|message| at.problem(message))?;
    let place = Place { file, line: at.line(), key: at.path().to_owned() };
    if let Some(at) = fields.get("append").filter(|at| at.boolean() != Ok(false)) {
        return Err(at.problem("expected false: a file is written whole"));
    }
    // Files are written before any service runs; when exactly makes no difference.
    fields.get("defer").map(At::boolean).transpose()?;
    let (owner, group) = match fields.get("owner") {
        None => ("root".to_owned(), "root".to_owned()),
        Some(at) => read_owner(at)?,
    };
    Ok(WriteFile {
        path,
        content: read_content(&fields)?,
        owner,
        group,
        mode: fields.get("permissions").map_or(Ok(0o644), read_mode)?,
        place,
    })
}

fn read_content(fields: &crate::yaml::Fields<'_>) -> Result<Vec<u8>, Problem> {
    let Some(at) = fields.get("content") else { return Ok(Vec::new()) };
    let text = at.body("the file's content")?;
    let encoding = match fields.get("encoding") {
        None => "text/plain",
        Some(at) => at.text(ENCODINGS)?,
    };
    let packed = || base64::decode(text).map_err(|error| at.problem(error));
    match encoding {
        "text/plain" => Ok(text.as_bytes().to_vec()),
        "b64" | "base64" => packed(),
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => {
            gzip::decompress(&packed()?, DOCUMENT_MAX).map_err(|error| at.problem(error))
        }
        other => Err(fields
            .get("encoding")
            .unwrap_or(at)
            .problem(format!("expected {ENCODINGS}, found '{}'", printable(other)))),
    }
}

/// `user:group`, or `user`, whose group has the same name.
fn read_owner(at: &At<'_>) -> Result<(String, String), Problem> {
    let text = at.string("USER:GROUP")?;
    let (owner, group) = text.split_once(':').unwrap_or((text, text));
    let name = |text: &str| {
        (1..=32).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    if name(owner) && name(group) {
        return Ok((owner.to_owned(), group.to_owned()));
    }
    Err(at.problem(format!("expected USER:GROUP, found '{}'", printable(text))))
}

/// Three or four octal digits, quoted or not.
fn read_mode(at: &At<'_>) -> Result<u16, Problem> {
    let text = at.text("octal permissions, as '0644'")?;
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = (3..=5).contains(&digits.len()).then(|| u16::from_str_radix(digits, 8).ok());
    match octal.flatten() {
        Some(mode) if mode <= 0o777 => Ok(mode),
        Some(_) => Err(at.problem(format!(
            "expected at most '0777' (no setuid, setgid or sticky bit), found '{text}'"
        ))),
        None => Err(at.problem(format!(
            "expected octal permissions, as '0644', found '{}'",
            printable(text)
        ))),
    }
}
