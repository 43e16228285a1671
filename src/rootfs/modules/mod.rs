// SPDX-License-Identifier: Apache-2.0
//! Kernel modules: depmod's work, and which modules the initramfs carries.
//!
//! Reading what modules say is by far the slowest part of making a root, and depends on the
//! kernel package only. So it is a value of its own, [`Survey`], which can be kept with the
//! package and handed back through [`Package::modules`](super::Package::modules).

mod depmod;
mod elf;
mod index;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
};

pub use depmod::CycleError;
use depmod::{Graph, Module, builtin_names, module_name};
pub use elf::{ElfError, Facts};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Draft, Package,
    boot::{KernelFiles, KernelImage},
    did_you_mean,
};
use crate::{
    debian::deb,
    tree::{Content, Inode, Kind, Origin, TreePath},
};

const STAGE: &str = "modules";
/// Largest module that is read; Debian's largest is a tenth of that.
const LIMIT: u64 = 256 << 20;
/// Memory for one decompression, in KiB.
const XZ_MEMORY: u32 = 128 << 10;

/// Why the modules of an image cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("expected one kernel in the packages, found {}", kernels(.0))]
    Kernels(Vec<String>),
    #[error("kernel module '{path}'")]
    Elf {
        path: TreePath,
        #[source]
        source: ElfError,
    },
    #[error("reading kernel module '{path}'")]
    Read {
        path: TreePath,
        #[source]
        source: std::io::Error,
    },
    #[error("kernel module '{path}' has a compression other than xz")]
    Compression { path: TreePath },
    #[error(transparent)]
    Cycle(#[from] CycleError),
    #[error("'kernel.{list}' names module '{module}', which kernel {release} does not have{help}")]
    Unknown { list: &'static str, module: String, release: String, help: String },
}

fn kernels(releases: &[String]) -> String {
    if releases.is_empty() { "none".to_owned() } else { releases.join(", ") }
}

/// What all modules of a package say, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey(BTreeMap<String, Facts>);

impl Survey {
    /// Reads the modules among a package's entries, on all cores; at any time only as many
    /// modules are in memory as there are threads. None if the package has no modules.
    ///
    /// # Errors
    /// A module cannot be read.
    pub fn of(entries: &[deb::Entry]) -> Result<Option<Self>, Error> {
        let modules: Vec<(&TreePath, &Content)> = entries
            .iter()
            .filter(|entry| is_module(&entry.path))
            .filter_map(|entry| match &entry.kind {
                deb::Kind::File(content) => Some((&entry.path, content)),
                _ => None,
            })
            .collect();
        if modules.is_empty() {
            return Ok(None);
        }
        let facts = modules.into_par_iter().map(|(path, content)| {
            let inside = below_modules(path).unwrap_or_else(|| path.as_str()).to_owned();
            Ok((inside, read_module(path, content)?))
        });
        Ok(Some(Self(facts.collect::<Result<_, Error>>()?)))
    }
}

/// Whether a path is a module's, compressed or not.
fn is_module(path: &TreePath) -> bool {
    let name = path.file_name();
    below_modules(path).is_some()
        && [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().any(|end| name.ends_with(end))
}

/// `RELEASE/kernel/...` of a path below `/usr/lib/modules` or `/lib/modules`.
fn below_modules(path: &TreePath) -> Option<&str> {
    let path = path.as_str();
    path.strip_prefix("/usr").unwrap_or(path).strip_prefix("/lib/modules/")
}

fn read_module(path: &TreePath, content: &Content) -> Result<Facts, Error> {
    let elf = unpacked(path, content)?;
    Facts::parse(&elf).map_err(|source| Error::Elf { path: path.clone(), source })
}

/// The module itself, signature included.
fn unpacked(path: &TreePath, content: &Content) -> Result<Vec<u8>, Error> {
    let read = |source| Error::Read { path: path.clone(), source };
    let bytes = content.to_vec().map_err(read)?;
    match path.file_name().rsplit('.').next() {
        Some("ko") => Ok(bytes),
        Some("xz") => {
            let mut elf = Vec::new();
            lzma_rust2::XzReader::new_mem_limit(&*bytes, true, XZ_MEMORY)
                .take(LIMIT)
                .read_to_end(&mut elf)
                .map_err(read)?;
            Ok(elf)
        }
        _ => Err(Error::Compression { path: path.clone() }),
    }
}

/// Writes depmod's files and picks what the initramfs carries.
pub(super) fn install(
    draft: &mut Draft<'_>,
    packages: &[Package],
    kernel: KernelImage,
) -> Result<KernelFiles, super::Error> {
    let release = kernel.release;
    let folder = TreePath::new(&format!("/usr/lib/modules/{release}"))?;
    let text = |name: &str| -> Result<String, super::Error> {
        Ok(draft.text(&format!("{folder}/{name}"))?.unwrap_or_default())
    };
    let (order, builtin, modinfo) =
        (text("modules.order")?, text("modules.builtin")?, text("modules.builtin.modinfo")?);
    let graph = Graph::new(modules(draft, &folder, packages)?, &order).map_err(Error::from)?;

    for (name, bytes) in graph.files(&builtin, modinfo.as_bytes()) {
        draft.write(&format!("{folder}/{name}"), bytes, STAGE)?;
    }
    let wanted = &draft.plan.profile.kernel;
    let known = Known { graph: &graph, builtin: &builtin, release: &release };
    known.check("modules", &wanted.modules)?;
    known.check("initrd-modules", &wanted.initrd_modules)?;
    let chosen = with_needs(&graph, &wanted.initrd_modules);
    let initrd_modules = chosen.iter().map(|at| initrd_file(draft, &folder, &graph.modules[*at]));
    Ok(KernelFiles {
        initrd_modules: initrd_modules.collect::<Result<_, _>>()?,
        modules_dep: plain_dep(&graph.dep(&chosen)),
        modules_alias: graph.alias(&chosen),
        modules_softdep: graph.softdep(&chosen),
        initrd_firmware: firmware(draft, &release, chosen.iter().map(|at| &graph.modules[*at]))?,
        early_modules: early(&graph, &wanted.initrd_modules),
        module_count: graph.modules.len(),
        image: kernel.image,
        release,
    })
}

/// All modules of the tree with what they say; what was surveyed before is not read again.
fn modules(
    draft: &Draft<'_>,
    folder: &TreePath,
    packages: &[Package],
) -> Result<Vec<Module>, Error> {
    let surveys: BTreeMap<&str, &Survey> = packages
        .iter()
        .filter_map(|package| Some((&*package.name, &**package.modules.as_ref()?)))
        .collect();
    let surveyed = |path: &TreePath, inode: &Inode| match &inode.origin {
        Origin::Package(name) => surveys.get(&**name)?.0.get(below_modules(path)?).cloned(),
        _ => None,
    };
    let files: Vec<(&TreePath, &Inode)> =
        draft.tree.subtree(folder).filter(|(path, _)| is_module(path)).collect();
    files
        .into_par_iter()
        .filter_map(|(path, inode)| match &inode.kind {
            Kind::File(content) => Some((path, inode, content)),
            _ => None,
        })
        .map(|(path, inode, content)| {
            let facts = match surveyed(path, inode) {
                Some(facts) => facts,
                None => read_module(path, content)?,
            };
            let inside = path.as_str()[folder.as_str().len() + 1..].to_owned();
            Ok(Module { name: module_name(&inside), path: inside, facts })
        })
        .collect()
}

/// The modules that exist, for names that people wrote.
struct Known<'a> {
    graph: &'a Graph,
    builtin: &'a str,
    release: &'a str,
}

impl Known<'_> {
    /// Refuses names of modules that the kernel has neither as files nor built in.
    fn check(&self, list: &'static str, names: &BTreeSet<String>) -> Result<(), Error> {
        let builtin: BTreeSet<String> = builtin_names(self.builtin).collect();
        for module in names {
            let name = module.replace('-', "_");
            if self.graph.find(&name).is_none() && !builtin.contains(&name) {
                let all = self.graph.modules.iter().map(|module| &*module.name);
                let help = did_you_mean(&name, all.chain(builtin.iter().map(|name| &**name)));
                let (module, release) = (module.clone(), self.release.to_owned());
                return Err(Error::Unknown { list, module, release, help });
            }
        }
        Ok(())
    }
}

/// The named modules that are files, with everything they need, in depmod's order.
fn with_needs(graph: &Graph, names: &BTreeSet<String>) -> Vec<usize> {
    let mut chosen = BTreeSet::new();
    let mut pending: Vec<usize> = names.iter().filter_map(|name| graph.find(name)).collect();
    while let Some(at) = pending.pop() {
        if chosen.insert(at) {
            pending.extend(&graph.needs[at]);
            // `pre: a b post: c`: names that are aliases of several modules are left to people.
            let facts = &graph.modules[at].facts;
            let hinted = facts.softdeps.iter().flat_map(|line| line.split_whitespace());
            pending.extend(hinted.filter_map(|name| graph.find(name)));
        }
    }
    chosen.into_iter().collect()
}

/// The named modules that no device asks for, so that someone has to load them by name.
fn early(graph: &Graph, names: &BTreeSet<String>) -> Vec<String> {
    names
        .iter()
        .filter_map(|name| graph.find(name))
        .map(|at| &graph.modules[at])
        .filter(|module| !module.facts.aliases.iter().any(|alias| is_device_alias(alias)))
        .map(|module| module.name.clone())
        .collect()
}

/// Whether a pattern is a bus's (`pci:v…`, `virtio:d…`), not a name's (`fs-vfat`, `devname:…`).
fn is_device_alias(alias: &str) -> bool {
    alias.split_once(':').is_some_and(|(bus, _)| !matches!(bus, "devname" | "symbol"))
}

/// The end of a module's file name in the initramfs: what is unpacked there need not be unpacked
/// at every boot, and the initramfs is compressed as a whole.
const PLAIN: &str = ".ko";

/// A module's path without its compression: `a/b.ko.xz` is `a/b.ko`.
fn plain_path(path: &str) -> &str {
    path.find(".ko.").map_or(path, |at| &path[..at + PLAIN.len()])
}

/// modules.dep of the initramfs.
fn plain_dep(text: &str) -> String {
    let line = |line: &str| {
        let words = line.split(' ').map(|word| match word.strip_suffix(':') {
            Some(path) => format!("{}:", plain_path(path)),
            None => plain_path(word).to_owned(),
        });
        words.collect::<Vec<_>>().join(" ") + "\n"
    };
    text.lines().map(line).collect()
}

/// A module's file for the initramfs, which has no folder per kernel.
fn initrd_file(
    draft: &Draft<'_>,
    folder: &TreePath,
    module: &Module,
) -> Result<(TreePath, Content), super::Error> {
    let path = folder.join(&module.path)?;
    let inode = draft.tree.get(&path).expect("a module of the tree");
    let Kind::File(content) = &inode.kind else { unreachable!("modules are files") };
    let place = format!("{}/{}", kiln_contract::path::INITRD_MODULES, plain_path(&module.path));
    Ok((TreePath::new(&place)?, Content::bytes(unpacked(&path, content)?)))
}

/// Where the kernel looks for firmware, in this order, and how its files may be compressed.
const FIRMWARE: [&str; 2] = ["/usr/lib/firmware/updates", "/usr/lib/firmware"];
const FIRMWARE_ENDINGS: [&str; 3] = ["", ".zst", ".xz"];

/// The firmware that modules name, as far as the root has it: packages have it by choice, and no
/// module needs all that it names.
fn firmware<'a>(
    draft: &Draft<'_>,
    release: &str,
    modules: impl Iterator<Item = &'a Module>,
) -> Result<BTreeMap<TreePath, Content>, super::Error> {
    let folders =
        FIRMWARE.iter().flat_map(|folder| [format!("{folder}/{release}"), (*folder).to_owned()]);
    let folders: Vec<String> = folders.collect();
    let mut found = BTreeMap::new();
    for name in modules.flat_map(|module| &module.facts.firmware) {
        for (folder, ending) in
            folders.iter().flat_map(|folder| FIRMWARE_ENDINGS.map(|ending| (folder, ending)))
        {
            let Ok(path) = TreePath::new(&format!("{folder}/{name}{ending}")) else { continue };
            let real = draft.tree.resolve(&path, true)?;
            if let Some(Kind::File(content)) = draft.tree.get(&real).map(|inode| &inode.kind) {
                // The initramfs has no merged /usr.
                let place = path.as_str().strip_prefix("/usr").unwrap_or(path.as_str());
                found.insert(TreePath::new(place)?, content.clone());
                break;
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_the_initramfs_are_not_compressed_again() {
        for (path, plain) in [
            ("kernel/fs/vfat.ko.xz", "kernel/fs/vfat.ko"),
            ("kernel/fs/vfat.ko", "kernel/fs/vfat.ko"),
            ("extra/a.ko.zst", "extra/a.ko"),
        ] {
            assert_eq!(plain_path(path), plain);
        }
        assert_eq!(
            plain_dep("a/b.ko.xz: c/d.ko.xz e.ko.xz\nc/d.ko.xz:\n"),
            "a/b.ko: c/d.ko e.ko\nc/d.ko:\n"
        );
    }
}
