// SPDX-License-Identifier: Apache-2.0
//! `systemctl enable` and `mask` as data: `[Install]` sections become symlinks in
//! `/etc/systemd/system` (systemd.unit(5), section "[Install] section options").
//!
//! Only what the profile lists and what Kiln itself adds is enabled; presets do not count.

use std::collections::{BTreeMap, BTreeSet};

use super::{did_you_mean, draft::Draft};
use crate::tree::{Kind, TreePath};

/// Where enabling puts its symlinks.
const LOCAL: &str = "/etc/systemd/system";
/// Where unit files are looked for, in order.
const FOLDERS: [&str; 3] = [LOCAL, "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];
const STAGE: &str = "units";

/// Why a unit cannot be enabled or masked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("'services.{list}' names unit '{unit}', which no package and no overlay has{help}")]
    Unknown { list: &'static str, unit: String, help: String },
    #[error(
        "'services.{list}' names '{unit}', which is no unit name: expected NAME.service, NAME.socket …"
    )]
    Name { list: &'static str, unit: String },
    #[error(
        "unit '{unit}' cannot be enabled: '{path}' has no [Install] section, so something else must start it"
    )]
    NoInstall { unit: String, path: TreePath },
    #[error("unit '{unit}' is a template without DefaultInstance: enable '{base}@INSTANCE.{kind}'")]
    NoInstance { unit: String, base: String, kind: String },
    #[error("unit '{unit}' cannot be enabled: it is masked by '{path}'")]
    Masked { unit: String, path: TreePath },
    #[error("'{path}': '{value}' in [Install] uses a specifier that is not known at build time")]
    Specifier { path: TreePath, value: String },
}

/// Carries out `services:` and enables Kiln's own units.
pub(super) fn install(draft: &mut Draft<'_>) -> Result<(), super::Error> {
    let services = &draft.plan.profile.services;
    let mut done = BTreeSet::new();
    for unit in &services.enable {
        enable(draft, "enable", unit, &mut done)?;
    }
    for unit in super::services::UNITS {
        enable(draft, "enable", unit, &mut done)?;
    }
    if super::ssh::is_there(draft) {
        enable(draft, "enable", super::ssh::UNIT, &mut done)?;
    }
    if draft.has("/usr/lib/systemd/system/nftables.service") {
        enable(draft, "enable", "nftables.service", &mut done)?;
    }
    for unit in &services.mask {
        find(draft, "mask", unit)?;
        draft.link(&format!("{LOCAL}/{unit}"), "/dev/null", STAGE)?;
    }
    for unit in &services.ready {
        find(draft, "ready", unit)?;
    }
    let (_, path) = find(draft, "default-target", &services.default_target)?;
    draft.link(&format!("{LOCAL}/default.target"), path.as_str(), STAGE)
}

/// Enables a unit and those that its `Also=` names.
fn enable(
    draft: &mut Draft<'_>,
    list: &'static str,
    unit: &str,
    done: &mut BTreeSet<String>,
) -> Result<(), super::Error> {
    let mut pending = vec![unit.to_owned()];
    while let Some(unit) = pending.pop() {
        if !done.insert(unit.clone()) {
            continue;
        }
        let (name, path) = find(draft, list, &unit)?;
        let sections = read_install(draft, &path)?;
        if sections.is_empty() {
            return Err(Error::NoInstall { unit, path }.into());
        }
        let name = sections.instantiate(name).map_err(|name| Error::NoInstance {
            unit: unit.clone(),
            base: name.prefix,
            kind: name.kind,
        })?;
        for link in sections.links(&name, &path)? {
            // An alias that repeats the file's own place needs no link.
            if link != path.as_str() {
                draft.link(&link, path.as_str(), STAGE)?;
            }
        }
        pending.extend(sections.expanded(&sections.also, &name, &path)?);
    }
    Ok(())
}

/// A unit's name in its parts: `prefix@instance.kind`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UnitName {
    prefix: String,
    /// None for a plain unit, empty for a template.
    instance: Option<String>,
    kind: String,
}

impl UnitName {
    fn parse(text: &str) -> Option<Self> {
        const KINDS: [&str; 8] =
            ["service", "socket", "target", "timer", "mount", "automount", "path", "slice"];
        let (stem, kind) = text.rsplit_once('.')?;
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        if stem.is_empty() || !stem.bytes().all(valid) || !KINDS.contains(&kind) {
            return None;
        }
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance.to_owned())),
            None => (stem, None),
        };
        Some(Self { prefix: prefix.to_owned(), instance, kind: kind.to_owned() })
    }

    /// The name of the template that an instance is made from.
    fn template(&self) -> Self {
        Self { instance: self.instance.as_ref().map(|_| String::new()), ..self.clone() }
    }
}

impl std::fmt::Display for UnitName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.instance {
            Some(instance) => write!(f, "{}@{instance}.{}", self.prefix, self.kind),
            None => write!(f, "{}.{}", self.prefix, self.kind),
        }
    }
}

/// The unit's name and its file. A symlink to another unit file is an alias of that unit.
fn find(draft: &Draft<'_>, list: &'static str, unit: &str) -> Result<(UnitName, TreePath), Error> {
    let name = UnitName::parse(unit).ok_or_else(|| Error::Name { list, unit: unit.to_owned() })?;
    for candidate in [name.clone(), name.template()] {
        for folder in FOLDERS {
            let path = format!("{folder}/{candidate}");
            if let Some(path) = masked(draft, &path) {
                return Err(Error::Masked { unit: unit.to_owned(), path });
            }
            let Some((path, inode)) = draft.find(&path) else { continue };
            if matches!(inode.kind, Kind::File(_)) {
                let real = UnitName::parse(path.file_name()).unwrap_or(candidate);
                let instance = name.instance.clone().or_else(|| real.instance.clone());
                return Ok((UnitName { instance, ..real }, path));
            }
        }
    }
    let folders = FOLDERS.map(TreePath::literal);
    let known = folders.iter().flat_map(|folder| draft.tree.children(folder));
    let help = did_you_mean(unit, known.map(|(path, _)| path.file_name()));
    Err(Error::Unknown { list, unit: unit.to_owned(), help })
}

/// The path, if it is a symlink to `/dev/null`.
fn masked(draft: &Draft<'_>, path: &str) -> Option<TreePath> {
    let path = TreePath::new(path).ok()?;
    match &draft.tree.get(&path)?.kind {
        Kind::Symlink(target) if target == "/dev/null" => Some(path),
        _ => None,
    }
}

/// What the `[Install]` sections of a unit file and its drop-ins say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Install {
    wanted_by: Vec<String>,
    required_by: Vec<String>,
    upheld_by: Vec<String>,
    alias: Vec<String>,
    also: Vec<String>,
    default_instance: Option<String>,
}

impl Install {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds the words of a unit file's text. An empty value takes back what came before.
    fn read(&mut self, text: &str) {
        let mut inside = false;
        for line in logical_lines(text) {
            if line.starts_with('[') {
                inside = line == "[Install]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| inside) else { continue };
            let list = match key.trim() {
                "WantedBy" => &mut self.wanted_by,
                "RequiredBy" => &mut self.required_by,
                "UpheldBy" => &mut self.upheld_by,
                "Alias" => &mut self.alias,
                "Also" => &mut self.also,
                "DefaultInstance" => {
                    self.default_instance =
                        Some(value.trim().to_owned()).filter(|value| !value.is_empty());
                    continue;
                }
                _ => continue,
            };
            if value.trim().is_empty() {
                list.clear();
            }
            list.extend(value.split_whitespace().map(str::to_owned));
        }
    }

    /// The name with the default instance, if it is a template's. The error is the template.
    fn instantiate(&self, name: UnitName) -> Result<UnitName, UnitName> {
        match (&name.instance, &self.default_instance) {
            (Some(instance), None) if instance.is_empty() => Err(name),
            (Some(instance), Some(default)) if instance.is_empty() => {
                Ok(UnitName { instance: Some(default.clone()), ..name })
            }
            _ => Ok(name),
        }
    }

    /// Paths of the symlinks to the unit file.
    fn links(&self, name: &UnitName, path: &TreePath) -> Result<Vec<String>, Error> {
        let mut links = Vec::new();
        for (targets, folder) in [
            (&self.wanted_by, "wants"),
            (&self.required_by, "requires"),
            (&self.upheld_by, "upholds"),
        ] {
            for target in self.expanded(targets, name, path)? {
                links.push(format!("{LOCAL}/{target}.{folder}/{name}"));
            }
        }
        for alias in self.expanded(&self.alias, name, path)? {
            links.push(format!("{LOCAL}/{alias}"));
        }
        Ok(links)
    }

    /// The words with their specifiers replaced.
    fn expanded(
        &self,
        words: &[String],
        name: &UnitName,
        path: &TreePath,
    ) -> Result<Vec<String>, Error> {
        words
            .iter()
            .map(|word| {
                expand(word, name)
                    .ok_or_else(|| Error::Specifier { path: path.clone(), value: word.clone() })
            })
            .collect()
    }
}

/// Replaces `%i`, `%I`, `%n`, `%N`, `%p`, `%P`, `%j` and `%%`; none if there is another specifier.
fn expand(word: &str, name: &UnitName) -> Option<String> {
    let instance = name.instance.as_deref().unwrap_or_default();
    let full = name.to_string();
    let mut out = String::new();
    let mut characters = word.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        match characters.next()? {
            'i' => out.push_str(instance),
            // Unescaped; the same unless the name is escaped, which only a running system undoes.
            'I' if !instance.contains(['-', '\\']) => out.push_str(instance),
            'p' => out.push_str(&name.prefix),
            'P' if !name.prefix.contains(['-', '\\']) => out.push_str(&name.prefix),
            'j' => out.push_str(name.prefix.rsplit('-').next().unwrap_or_default()),
            'n' => out.push_str(&full),
            'N' => out.push_str(full.rsplit_once('.').map_or(&*full, |(stem, _)| stem)),
            '%' => out.push('%'),
            _ => return None,
        }
    }
    Some(out)
}

/// Lines without comments and empty ones, those that end with a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (part, continues) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| open) {
            Some(last) => {
                last.push(' ');
                last.push_str(part);
            }
            None if part.is_empty() => {}
            None => lines.push(part.to_owned()),
        }
        open = continues;
    }
    lines
}

/// The `[Install]` section of a unit file with those of its drop-ins.
fn read_install(draft: &Draft<'_>, path: &TreePath) -> Result<Install, super::Error> {
    let mut install = Install::default();
    install.read(&draft.text(path.as_str())?.unwrap_or_default());
    for text in drop_ins(draft, path.file_name())? {
        install.read(&text);
    }
    Ok(install)
}

/// Texts of a unit's drop-ins in the order of their names; a name in `/etc` hides the others.
fn drop_ins(draft: &Draft<'_>, unit: &str) -> Result<Vec<String>, super::Error> {
    let mut files = BTreeMap::new();
    for folder in FOLDERS {
        let folder = TreePath::new(&format!("{folder}/{unit}.d"))?;
        for (path, _) in draft.tree.children(&folder) {
            if path.as_str().ends_with(".conf") {
                files.entry(path.file_name().to_owned()).or_insert_with(|| path.clone());
            }
        }
    }
    let texts = files.into_values().map(|path| draft.text(path.as_str()));
    Ok(texts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// Words of a key of a unit file's section, for units that order themselves by others.
pub(super) fn words(draft: &Draft<'_>, unit: &str, key: &str) -> Result<Vec<String>, super::Error> {
    let (_, path) = find(draft, "enable", unit)?;
    let mut texts = vec![draft.text(path.as_str())?.unwrap_or_default()];
    texts.extend(drop_ins(draft, path.file_name())?);
    Ok(texts
        .iter()
        .flat_map(|text| logical_lines(text))
        .filter_map(|line| {
            let (found, value) = line.split_once('=')?;
            (found.trim() == key).then(|| value.to_owned())
        })
        .flat_map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UnitName {
        UnitName::parse(text).expect("a unit name")
    }

    #[test]
    fn an_install_section_becomes_links() {
        let mut install = Install::default();
        install.read(
            "[Unit]\nWantedBy=not.this\n[Install]\n# comment\nWantedBy=multi-user.target \\\n  other.target\n\
             Alias=chronyd.service\nRequiredBy=x.target\nAlso=chrony.socket\n",
        );
        let path = TreePath::literal("/usr/lib/systemd/system/chrony.service");
        assert_eq!(
            install.links(&name("chrony.service"), &path).expect("no specifiers"),
            [
                "/etc/systemd/system/multi-user.target.wants/chrony.service",
                "/etc/systemd/system/other.target.wants/chrony.service",
                "/etc/systemd/system/x.target.requires/chrony.service",
                "/etc/systemd/system/chronyd.service",
            ]
        );
        assert_eq!(install.also, ["chrony.socket"]);
        install.read("[Install]\nWantedBy=\nRequiredBy=\nAlias=\nAlso=\n");
        assert!(install.is_empty());
    }

    #[test]
    fn templates_need_an_instance() {
        let mut install = Install::default();
        install.read("[Install]\nWantedBy=getty-%i.target\nDefaultInstance=tty1\n");
        let default = install.instantiate(name("getty@.service")).expect("has a default");
        assert_eq!(default, name("getty@tty1.service"));
        let path = TreePath::literal("/usr/lib/systemd/system/getty@.service");
        assert_eq!(
            install.links(&name("getty@tty2.service"), &path).expect("known specifier"),
            ["/etc/systemd/system/getty-tty2.target.wants/getty@tty2.service"]
        );
        install.default_instance = None;
        assert_eq!(install.instantiate(name("getty@.service")), Err(name("getty@.service")));
    }

    #[test]
    fn specifiers_of_the_running_system_are_refused() {
        assert_eq!(expand("a-%p-%%", &name("x.service")).as_deref(), Some("a-x-%"));
        assert_eq!(expand("%H.target", &name("x.service")), None);
        assert_eq!(expand("%", &name("x.service")), None);
    }

    #[test]
    fn unit_names_are_checked() {
        assert_eq!(name("a@b.c.service").instance.as_deref(), Some("b.c"));
        assert_eq!(name("a@b.service").to_string(), "a@b.service");
        for bad in ["haproxy", "a/b.service", ".service", "a.conf", "../x.service", "a b.service"] {
            assert_eq!(UnitName::parse(bad), None, "{bad}");
        }
    }
}
