// SPDX-License-Identifier: Apache-2.0
//! A plan for people: one block per role, one line per decision, empty ones left out.

use std::fmt;

use super::{Delivered, Plan};
use crate::{
    kubernetes::addons::Addon,
    profile::{ABSENT, FileContent, OUTPUTS},
};

/// Columns of a line, and of its name.
const WIDTH: usize = 100;
const NAME: usize = 13;

/// Prints one plan.
#[derive(Debug)]
pub struct Text<'a>(pub &'a Plan);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { cluster, profile, digest, .. } = self.0;
        let role = &profile.role;
        writeln!(
            f,
            "{}-{role} version {}, plan {}",
            cluster.name,
            cluster.version,
            digest.short()
        )?;
        let hosts = cluster.hosts_of(role);
        line(f, "hosts", hosts.map(|(name, host)| format!("{name} {}", host.address)))?;
        self.packages(f)?;
        self.root(f)?;
        self.boot(f)
    }
}

impl Text<'_> {
    fn packages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = &self.0.profile;
        let debian = &profile.debian;
        let mut suites = vec![debian.suite.clone()];
        suites.extend(debian.updates.then(|| format!("{}-updates", debian.suite)));
        suites.extend(debian.security.then(|| format!("{}-security", debian.suite)));
        let archive = [suites.join(" "), debian.components.join(" "), debian.architecture.clone()];
        line(f, "archive", archive)?;
        line(f, "from", debian.from.iter().map(|(name, suite)| format!("{name} {suite}")))?;
        line(f, "packages", &profile.packages.install)?;
        lines(
            f,
            "omitted",
            profile.packages.omit.iter().map(|(name, why)| format!("{name}: {why}")),
        )?;
        let prefer = &profile.packages.prefer;
        line(f, "preferred", prefer.iter().map(|(name, by)| format!("{by} for {name}")))?;
        line(f, "pruned", &profile.prune.drop)?;
        line(f, "kept", &profile.prune.keep)
    }

    fn root(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = &self.0.profile;
        line(f, "overlays", &profile.overlays)?;
        let files = profile.files.iter().map(|(path, file)| match &file.content {
            FileContent::Text(_) => path.to_string(),
            FileContent::BuildTemplate(_) => format!("{path} (rendered at build)"),
            FileContent::BootTemplate(_) => format!("{path} (rendered at first boot)"),
            FileContent::Symlink(target) => format!("{path} -> {target}"),
            FileContent::Directory => format!("{path}/"),
        });
        line(f, "files", files)?;
        line(f, "replaced", &profile.replace)?;
        line(f, "binaries", profile.binaries.keys())?;
        line(f, "images", profile.images.values().map(|pull| &pull.reference))?;
        let Delivered { baked, by_seed } = &self.0.delivered;
        let secrets = baked.iter().filter(|file| file.kind.is_secret());
        line(f, "secrets", secrets.map(|file| &file.path))?;
        line(f, "by seed", by_seed.iter().map(|file| &file.path))?;
        line(f, "add-ons", &self.0.addons)?;
        lines(f, "pulled", self.0.addons.iter().flat_map(Addon::warnings))?;
        line(f, "users", profile.users.iter().map(|(name, user)| format!("{name} {}", user.uid)))?;
        line(
            f,
            "groups",
            profile.groups.iter().map(|(name, group)| format!("{name} {}", group.gid)),
        )?;
        line(f, "enabled", &profile.services.enable)?;
        line(f, "masked", &profile.services.mask)?;
        let ready = &profile.services.ready;
        line(f, "ready when", ready)?;
        line(f, "ready within", [format!("{} s", profile.services.ready_timeout)])?;
        line(f, "let in", &profile.firewall.allow)?;
        line(f, "sysctl", profile.sysctl.iter().map(|(key, value)| format!("{key}={value}")))
    }

    fn boot(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = &self.0.profile;
        line(f, "kernel", [&profile.kernel.package])?;
        line(f, "modules", &profile.kernel.modules)?;
        line(f, "initramfs", &profile.kernel.initrd_modules)?;
        wrapped(f, "command line", "", &profile.kernel.arguments)?;
        line(f, "boots to", [&profile.services.default_target])?;
        line(f, "firmware", profile.boot.bios.then_some("UEFI, and legacy BIOS by GRUB"))?;
        let disk = &profile.disk;
        let parts = [
            format!("{} in all", disk.size),
            format!("EFI {}", disk.esp),
            format!("2 x root {} with hash tree {}", disk.root, disk.verity),
            "the rest is made into var at first boot".to_owned(),
        ];
        line(f, "disk", parts)?;
        let metadata = &profile.metadata;
        let sources = metadata.sources.iter().map(|source| source.word().to_owned());
        let absent = format!("else {}", word(&ABSENT, metadata.absent));
        line(f, "metadata", sources.chain([absent]))?;
        line(f, "outputs", profile.outputs.iter().map(|output| word(&OUTPUTS, *output)))
    }
}

/// The word that the profile has for a value.
fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, other)| *other == value).map_or("?", |(word, _)| word)
}

/// One decision with its values; nothing if there are none.
fn line<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    values: impl IntoIterator<Item = T>,
) -> fmt::Result {
    wrapped(f, name, ",", values)
}

/// Values with a separator and a blank between them, over as many lines as they take.
fn wrapped<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    separator: &str,
    values: impl IntoIterator<Item = T>,
) -> fmt::Result {
    let mut values = values.into_iter().map(|value| value.to_string()).peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    write!(f, "  {name:NAME$}")?;
    let mut column = 2 + NAME;
    while let Some(value) = values.next() {
        let value = if values.peek().is_some() { value + separator } else { value };
        let width = value.chars().count();
        if column + 1 + width > WIDTH && column > 2 + NAME {
            write!(f, "\n  {:NAME$}", "")?;
            column = 2 + NAME;
        }
        write!(f, " {value}")?;
        column += 1 + width;
    }
    writeln!(f)
}

/// One decision with a line for each value.
fn lines(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    values: impl IntoIterator<Item = String>,
) -> fmt::Result {
    values.into_iter().enumerate().try_for_each(|(index, value)| {
        let name = if index == 0 { name } else { "" };
        writeln!(f, "  {name:NAME$} {value}")
    })
}
