// SPDX-License-Identifier: Apache-2.0
//! OpenStack's config drive: a volume labeled `config-2` with `openstack/VERSION/`.
//!
//! Layout: Nova, "Config drives" and "Metadata service"; the newest version that is there counts,
//! else `latest`.

use kiln_contract::CONFIG_DRIVE_LABEL;

use crate::{
    metadata::{Dialect, INJECTED_MAX, Injected, Seed},
    volume::{Fault, Volume},
    yaml::{self, At, printable},
};

/// Versions are dates: the newest one sorts last.
const LATEST: &str = "latest";
const FILES_MAX: usize = 64;

/// Why a volume with the label is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config-drive medium '{medium}': {what}")]
pub struct Error {
    medium: String,
    what: String,
}

/// Reads the documents if this is a config drive.
///
/// # Errors
/// It has the label, but cannot be read or has no `meta_data.json`.
pub(super) fn read(volume: &Volume<'_>, medium: &str) -> Result<Option<Seed>, Error> {
    if !volume.is_labeled(CONFIG_DRIVE_LABEL) {
        return Ok(None);
    }
    let refuse = |what: String| Error { medium: medium.to_owned(), what };
    let damaged = |fault: Fault| refuse(fault.to_string());
    let mut versions = volume.names("openstack").map_err(damaged)?;
    versions.retain(|name| is_date(name) || name.eq_ignore_ascii_case(LATEST));
    // Digits sort before letters, so `latest` would be last.
    versions.sort_by_key(|name| (is_date(name), name.clone()));
    let read = |path: String| volume.read(&path).map_err(damaged);
    let mut seed: Option<Seed> = None;
    for version in versions.iter().rev() {
        let folder = format!("openstack/{version}");
        let Some(meta_data) = read(format!("{folder}/meta_data.json"))? else { continue };
        seed = Some(Seed {
            origin: format!("config-drive medium '{medium}'"),
            dialect: Dialect::Openstack,
            network_config: read(format!("{folder}/network_data.json"))?,
            user_data: read(format!("{folder}/user_data"))?,
            meta_data: Some(meta_data),
            warnings: vendor_data(medium, |name| read(format!("{folder}/{name}")))?,
            ..Seed::default()
        });
        break;
    }
    let Some(mut seed) = seed else {
        return Err(refuse("there is no openstack/VERSION/meta_data.json".to_owned()));
    };
    seed.files = injected(&seed, &read).map_err(refuse)?;
    Ok(Some(seed))
}

/// A line for each document of the cloud's owner, none of which is read.
fn vendor_data(
    medium: &str,
    read: impl Fn(&str) -> Result<Option<Vec<u8>>, Error>,
) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for name in ["vendor_data.json", "vendor_data2.json"] {
        if read(name)?.is_some_and(|bytes| says_something(&bytes)) {
            warnings.push(format!("config-drive medium '{medium}': {name} is not read"));
        }
    }
    Ok(warnings)
}

/// Whether vendor data is more than what Nova writes for none.
pub(crate) fn says_something(json: &[u8]) -> bool {
    !matches!(json.trim_ascii(), b"" | b"{}" | b"null" | b"\"\"")
}

/// `2018-08-27`
fn is_date(name: &str) -> bool {
    let mut parts = name.split('-');
    let digits = |part: Option<&str>, n| {
        part.is_some_and(|it| it.len() == n && it.bytes().all(|byte| byte.is_ascii_digit()))
    };
    digits(parts.next(), 4)
        && digits(parts.next(), 2)
        && digits(parts.next(), 2)
        && parts.next().is_none()
}

/// The contents that `files` of meta_data.json names, all below `openstack/content`.
fn injected(
    seed: &Seed,
    read: &dyn Fn(String) -> Result<Option<Vec<u8>>, Error>,
) -> Result<Vec<Injected>, String> {
    // What is wrong with the document is told by whoever reads it whole.
    let bytes = seed.meta_data.as_deref().unwrap_or_default();
    let Ok(Some(document)) = yaml::parse(bytes) else { return Ok(Vec::new()) };
    let Ok(entries) = At::root(&document).entries() else { return Ok(Vec::new()) };
    let Some((_, files)) = entries.into_iter().find(|(key, at)| *key == "files" && !at.is_null())
    else {
        return Ok(Vec::new());
    };
    let inside = |problem: yaml::Problem| format!("meta_data.json:{problem}");
    let items = files.items().map_err(inside)?;
    if items.len() > FILES_MAX {
        return Err(format!("meta_data.json: more than {FILES_MAX} files"));
    }
    let mut injected = Vec::new();
    for item in items {
        let fields = item.fields(&["path", "content_path"]).map_err(inside)?;
        let [path, content_path] = ["path", "content_path"].map(|key| {
            let at = fields.get(key).ok_or_else(|| item.problem(format!("missing key '{key}'")))?;
            Ok((at, at.text("a path")?))
        });
        let (_, path) = path.map_err(inside)?;
        let (at, content_path) = content_path.map_err(inside)?;
        let name = content_path.trim_start_matches('/').strip_prefix("content/");
        let plain = |name: &&str| !matches!(*name, "" | "." | "..") && !name.contains('/');
        let name = name.filter(plain).ok_or_else(|| {
            inside(at.problem(format!(
                "expected a path as '/content/0000', found '{}'",
                printable(content_path)
            )))
        })?;
        let content = read(format!("openstack/content/{name}")).map_err(|error| error.what)?;
        let content = content.ok_or_else(|| {
            inside(at.problem(format!("there is no 'openstack/content/{}'", printable(name))))
        })?;
        injected.push(Injected { path: path.to_owned(), content });
        if injected.iter().map(|it| it.content.len()).sum::<usize>() > INJECTED_MAX {
            return Err(inside(at.problem(format!("more than {INJECTED_MAX} bytes in all files"))));
        }
    }
    Ok(injected)
}
