// SPDX-License-Identifier: Apache-2.0
//! OpenStack's metadata service: the files of a config drive, by HTTP.
//!
//! <https://docs.openstack.org/nova/latest/user/metadata.html>.

use serde_json::Value;

use super::{
    Error, Facts, client::Client, documents::whole_or_not, http::Method, origin, url::Url,
};
use crate::{
    handoff::Source,
    metadata::{Dialect, INJECTED_MAX, Injected, Seed},
    source::config_drive::says_something,
    yaml::printable,
};

/// Those whose files are understood, newest first.
const VERSIONS: [&str; 8] = [
    "2018-08-27",
    "2017-02-22",
    "2016-10-06",
    "2016-06-30",
    "2015-10-15",
    "2013-10-17",
    "2013-04-04",
    "2012-08-10",
];
const LATEST: &str = "latest";
const FILES_MAX: usize = 64;

pub(super) fn read(facts: &Facts, client: &mut Client<'_>) -> Result<Option<Seed>, Error> {
    let bases = [
        "http://169.254.169.254/openstack".to_owned(),
        format!("http://[fe80::a9fe:a9fe%25{}]/openstack", facts.interface),
    ];
    let urls = bases.map(|base| Url::parse(&base).map_err(refused));
    let urls = urls.into_iter().collect::<Result<Vec<Url>, Error>>()?;
    let (index, list) = client.first(Method::Get, &urls, &[])?;
    let base = urls.into_iter().nth(index).ok_or_else(|| refused("no such place"))?;
    let Some(list) = list else { return Ok(None) };
    let version = newest(&String::from_utf8_lossy(&list));
    let mut service = Service { client, base, version };
    let Some(meta_data) = service.get("meta_data.json")? else { return Ok(None) };
    service.seed(meta_data).map(Some).map_err(whole_or_not)
}

fn newest(list: &str) -> &'static str {
    let there = |version: &&&str| list.lines().any(|line| line.trim_end_matches('/') == **version);
    VERSIONS.iter().find(there).copied().unwrap_or(LATEST)
}

struct Service<'a, 'b> {
    client: &'a mut Client<'b>,
    base: Url,
    version: &'static str,
}

impl Service<'_, '_> {
    fn seed(&mut self, meta_data: Vec<u8>) -> Result<Seed, Error> {
        let mut seed = Seed {
            origin: origin(Source::Openstack, &self.base),
            dialect: Dialect::Openstack,
            network_config: self.get("network_data.json")?,
            user_data: self.get("user_data")?,
            files: self.files(&meta_data)?,
            meta_data: Some(meta_data),
            ..Seed::default()
        };
        for name in ["vendor_data.json", "vendor_data2.json"] {
            if self.get(name)?.is_some_and(|bytes| says_something(&bytes)) {
                seed.warnings.push(format!("{}: {name} is not read", seed.origin));
            }
        }
        Ok(seed)
    }

    /// Files that the instance was started with. What meta_data.json is otherwise, or that it is
    /// no JSON at all, is for its reader to say.
    fn files(&mut self, meta_data: &[u8]) -> Result<Vec<Injected>, Error> {
        let document: Value = serde_json::from_slice(meta_data).unwrap_or_default();
        let Some(list) = document.get("files").and_then(Value::as_array) else {
            return Ok(Vec::new());
        };
        if list.len() > FILES_MAX {
            return Err(refused(format!("meta_data.json: files: more than {FILES_MAX}")));
        }
        let mut files: Vec<Injected> = Vec::new();
        for (index, file) in list.iter().enumerate() {
            let key = |name: &str| {
                file.get(name).and_then(Value::as_str).ok_or_else(|| {
                    refused(format!("meta_data.json: files[{index}]: missing key '{name}'"))
                })
            };
            let (path, content_path) = (key("path")?, key("content_path")?);
            let url = self.content(content_path).ok_or_else(|| {
                refused(format!(
                    "meta_data.json: files[{index}].content_path: expected '/content/NAME', found '{}'",
                    printable(content_path).chars().take(80).collect::<String>()
                ))
            })?;
            let content = self.client.get(&url, &[])?;
            let content = content.ok_or_else(|| refused(format!("'{url}' is not there")))?;
            files.push(Injected { path: path.to_owned(), content });
            if files.iter().map(|file| file.content.len()).sum::<usize>() > INJECTED_MAX {
                return Err(refused(format!("files: more than {INJECTED_MAX} bytes in all")));
            }
        }
        Ok(files)
    }

    /// Only what lies right in the folder `content`.
    fn content(&self, path: &str) -> Option<Url> {
        let name = path.strip_prefix('/').unwrap_or(path).strip_prefix("content/")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain);
        let url = is_name.then(|| self.base.with_path(&format!("/openstack/content/{name}")));
        url?.ok()
    }

    fn get(&mut self, file: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = format!("/openstack/{}/{file}", self.version);
        self.client.get(&self.base.with_path(&path).map_err(refused)?, &[])
    }
}

fn refused(what: impl AsRef<str>) -> Error {
    Error::Refused(format!("openstack: {}", what.as_ref()))
}
