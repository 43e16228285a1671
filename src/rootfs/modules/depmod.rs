// SPDX-License-Identifier: Apache-2.0
//! depmod as a function: which module needs which, and the `modules.*` files that say so.
//!
//! The files are those of kmod's depmod(8), byte for byte where it defines an order; the text of
//! `modules.symbols`, whose order depmod leaves to a hash table, is sorted by name.

use std::collections::BTreeMap;

use super::{elf::Facts, index::Index};

/// A module of the kernel's tree.
#[derive(Debug, Clone)]
pub(super) struct Module {
    /// With underscores, as the kernel names it.
    pub(super) name: String,
    /// Relative to the kernel's module directory: `kernel/fs/fat/fat.ko.xz`.
    pub(super) path: String,
    pub(super) facts: Facts,
}

/// Modules that want one another in a circle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kernel modules depend on one another in a circle: {}", .0.join(", "))]
pub struct CycleError(Vec<String>);

/// All modules of one kernel with what each of them needs.
#[derive(Debug)]
pub(super) struct Graph {
    /// In the order of `modules.order`, then by path.
    pub(super) modules: Vec<Module>,
    /// Everything that a module needs, nearest to the kernel last.
    pub(super) needs: Vec<Vec<usize>>,
    exporters: BTreeMap<String, usize>,
}

/// The kernel's name of the module in a file: `snd-seq.ko.xz` is `snd_seq`.
pub(super) fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

impl Graph {
    /// Orders `modules` and resolves their symbols. `order` is the text of `modules.order`.
    pub(super) fn new(mut modules: Vec<Module>, order: &str) -> Result<Self, CycleError> {
        let places: BTreeMap<&str, usize> =
            order.lines().enumerate().map(|(place, line)| (line, place)).collect();
        modules.sort_by_cached_key(|module| {
            let uncompressed =
                module.path.find(".ko").map_or(&*module.path, |end| &module.path[..end + 3]);
            let place = places.get(uncompressed).copied().unwrap_or(usize::MAX);
            (place, module.path.clone())
        });
        let exporters: BTreeMap<String, usize> = modules
            .iter()
            .enumerate()
            .flat_map(|(at, module)| {
                module.facts.exports.iter().map(move |name| (name.clone(), at))
            })
            .collect();
        let direct: Vec<Vec<usize>> =
            modules.iter().map(|module| direct_needs(module, &exporters)).collect();
        let ranks = topological_ranks(&direct).map_err(|stuck| {
            CycleError(stuck.into_iter().map(|at| modules[at].name.clone()).collect())
        })?;
        let needs = (0..modules.len()).map(|at| all_needs(at, &direct, &ranks)).collect();
        Ok(Self { modules, needs, exporters })
    }

    /// The position of a module by its name, with dashes or underscores.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let name = name.replace('-', "_");
        self.modules.iter().position(|module| module.name == name)
    }

    /// One line of `modules.dep` without its end.
    fn dep_line(&self, at: usize) -> String {
        let needs = self.needs[at].iter().map(|need| format!(" {}", self.modules[*need].path));
        format!("{}:{}", self.modules[at].path, needs.collect::<String>())
    }

    /// `modules.dep` of the modules that `chosen` names.
    pub(super) fn dep(&self, chosen: &[usize]) -> String {
        chosen.iter().map(|at| self.dep_line(*at) + "\n").collect()
    }

    /// `modules.alias` of the modules that `chosen` names.
    pub(super) fn alias(&self, chosen: &[usize]) -> String {
        let lines = self.words(chosen, "alias", |facts| &facts.aliases);
        format!("# Aliases extracted from modules themselves.\n{lines}")
    }

    /// `modules.softdep` of the modules that `chosen` names. depmod writes the module after
    /// the keyword, unlike for aliases.
    pub(super) fn softdep(&self, chosen: &[usize]) -> String {
        let lines = self.hints(chosen, "softdep", |facts| &facts.softdeps);
        format!("# Soft dependencies extracted from modules themselves.\n{lines}")
    }

    fn weakdep(&self, chosen: &[usize]) -> String {
        let lines = self.hints(chosen, "weakdep", |facts| &facts.weakdeps);
        format!("# Weak dependencies extracted from modules themselves.\n{lines}")
    }

    /// `KEYWORD value module` lines.
    fn words(&self, chosen: &[usize], keyword: &str, of: fn(&Facts) -> &Vec<String>) -> String {
        let modules = chosen.iter().map(|at| &self.modules[*at]);
        modules
            .flat_map(|module| of(&module.facts).iter().map(move |word| (word, &module.name)))
            .map(|(word, name)| format!("{keyword} {word} {name}\n"))
            .collect()
    }

    /// `KEYWORD module value` lines.
    fn hints(&self, chosen: &[usize], keyword: &str, of: fn(&Facts) -> &Vec<String>) -> String {
        let modules = chosen.iter().map(|at| &self.modules[*at]);
        modules
            .flat_map(|module| of(&module.facts).iter().map(move |word| (word, &module.name)))
            .map(|(word, name)| format!("{keyword} {name} {word}\n"))
            .collect()
    }

    /// All files of depmod by name. `builtin` and `builtin_modinfo` are the kernel package's
    /// `modules.builtin` and `modules.builtin.modinfo`.
    pub(super) fn files(
        &self,
        builtin: &str,
        builtin_modinfo: &[u8],
    ) -> BTreeMap<&'static str, Vec<u8>> {
        let all: Vec<usize> = (0..self.modules.len()).collect();
        BTreeMap::from([
            ("modules.dep", self.dep(&all).into_bytes()),
            ("modules.dep.bin", self.dep_index().encode()),
            ("modules.alias", self.alias(&all).into_bytes()),
            ("modules.alias.bin", self.alias_index().encode()),
            ("modules.softdep", self.softdep(&all).into_bytes()),
            ("modules.weakdep", self.weakdep(&all).into_bytes()),
            ("modules.symbols", self.symbols().into_bytes()),
            ("modules.symbols.bin", self.symbol_index().encode()),
            ("modules.devname", self.device_nodes().into_bytes()),
            ("modules.builtin.bin", builtin_index(builtin).encode()),
            ("modules.builtin.alias.bin", builtin_alias_index(builtin_modinfo).encode()),
        ])
    }

    fn dep_index(&self) -> Index {
        let mut index = Index::default();
        for (at, module) in self.modules.iter().enumerate() {
            index.insert(&module.name, self.dep_line(at), priority(at));
        }
        index
    }

    fn alias_index(&self) -> Index {
        let mut index = Index::default();
        for (at, module) in self.modules.iter().enumerate() {
            for alias in module.facts.aliases.iter().filter_map(|alias| normalize(alias)) {
                index.insert(&alias, &*module.name, priority(at));
            }
        }
        index
    }

    fn symbols(&self) -> String {
        let lines = self
            .exporters
            .iter()
            .map(|(symbol, at)| format!("alias symbol:{symbol} {}\n", self.modules[*at].name));
        format!("# Aliases for symbols, used by symbol_request().\n{}", lines.collect::<String>())
    }

    fn symbol_index(&self) -> Index {
        let mut index = Index::default();
        for (symbol, at) in &self.exporters {
            index.insert(&format!("symbol:{symbol}"), &*self.modules[*at].name, priority(*at));
        }
        index
    }

    /// `modules.devname`: device nodes that load their module when they are opened.
    fn device_nodes(&self) -> String {
        let nodes: String = self
            .modules
            .iter()
            .filter_map(|module| {
                let aliases = &module.facts.aliases;
                let name = aliases.iter().find_map(|alias| alias.strip_prefix("devname:"))?;
                let number = aliases.iter().find_map(|alias| device_number(alias))?;
                Some(format!("{} {name} {number}\n", module.name))
            })
            .collect();
        if nodes.is_empty() {
            return nodes;
        }
        format!("# Device nodes to trigger on-demand module loading.\n{nodes}")
    }
}

/// `char-major-10-237` is `c10:237`.
fn device_number(alias: &str) -> Option<String> {
    let (kind, rest) = alias
        .strip_prefix("char-major-")
        .map(|rest| ('c', rest))
        .or_else(|| alias.strip_prefix("block-major-").map(|rest| ('b', rest)))?;
    let (major, minor) = rest.split_once('-')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    Some(format!("{kind}{major}:{minor}"))
}

/// An alias as it is looked up: dashes become underscores except inside brackets. None if its
/// brackets do not match.
fn normalize(alias: &str) -> Option<String> {
    let mut inside = false;
    let normal = alias
        .chars()
        .map(|character| {
            match character {
                ']' if !inside => return None,
                ']' => inside = false,
                '[' => inside = true,
                '-' if !inside => return Some('_'),
                _ => {}
            }
            Some(character)
        })
        .collect::<Option<String>>();
    normal.filter(|_| !inside)
}

/// Names of the modules that are part of the kernel.
pub(super) fn builtin_names(builtin: &str) -> impl Iterator<Item = String> {
    builtin.lines().filter(|line| !line.is_empty()).map(module_name)
}

fn builtin_index(builtin: &str) -> Index {
    let mut index = Index::default();
    for name in builtin_names(builtin) {
        index.insert(&name, "", 0);
    }
    index
}

/// From NUL-terminated `module.key=value` strings.
fn builtin_alias_index(modinfo: &[u8]) -> Index {
    let mut index = Index::default();
    for word in modinfo.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok()) {
        let Some((key, value)) = word.split_once('=') else { continue };
        let Some((module, "alias" | "modname")) = key.split_once('.') else { continue };
        if let Some(alias) = normalize(value) {
            index.insert(&alias, module, 0);
        }
    }
    index
}

fn priority(at: usize) -> u32 {
    u32::try_from(at).expect("modules are counted in thousands")
}

/// Modules whose symbols `module` uses, in the order in which it first uses them.
fn direct_needs(module: &Module, exporters: &BTreeMap<String, usize>) -> Vec<usize> {
    let mut needs = Vec::new();
    for exporter in module.facts.imports.iter().filter_map(|symbol| exporters.get(symbol)) {
        if !needs.contains(exporter) {
            needs.push(*exporter);
        }
    }
    needs
}

/// The rank of each module in a topological order, users before what they use: Kahn's
/// algorithm with a stack, as depmod does it, because the rank decides the order of every line
/// of `modules.dep`. The error is the modules of a circle.
fn topological_ranks(direct: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut users = vec![0_usize; direct.len()];
    for need in direct.iter().flatten() {
        users[*need] += 1;
    }
    let mut ranks = vec![usize::MAX; direct.len()];
    let mut ready: Vec<usize> = (0..direct.len()).filter(|at| users[*at] == 0).collect();
    let mut ranked = 0;
    while let Some(at) = ready.pop() {
        ranks[at] = ranked;
        ranked += 1;
        for need in &direct[at] {
            users[*need] -= 1;
            if users[*need] == 0 {
                ready.push(*need);
            }
        }
    }
    if ranked < direct.len() {
        return Err((0..direct.len()).filter(|at| ranks[*at] == usize::MAX).collect());
    }
    Ok(ranks)
}

/// Everything that a module needs, directly or not, by rank.
fn all_needs(at: usize, direct: &[Vec<usize>], ranks: &[usize]) -> Vec<usize> {
    let mut by_rank = BTreeMap::new();
    let mut pending = direct[at].clone();
    while let Some(need) = pending.pop() {
        if by_rank.insert(ranks[need], need).is_none() {
            pending.extend(&direct[need]);
        }
    }
    by_rank.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, exports: &[&str], imports: &[&str]) -> Module {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let facts = Facts { exports: words(exports), imports: words(imports), ..Facts::default() };
        Module { name: module_name(path), path: path.to_owned(), facts }
    }

    fn sample() -> Vec<Module> {
        vec![
            module("kernel/fs/fat/fat.ko.xz", &["fat_mount"], &["printk"]),
            module("kernel/fs/fat/vfat.ko.xz", &[], &["fat_mount", "nls_load"]),
            module("kernel/fs/nls-base.ko.xz", &["nls_load"], &[]),
        ]
    }

    #[test]
    fn a_module_is_named_by_its_file() {
        assert_eq!(module_name("kernel/sound/snd-seq.ko.xz"), "snd_seq");
        assert_eq!(module_name("ext4.ko"), "ext4");
    }

    #[test]
    fn lines_follow_modules_order_and_name_everything_needed() {
        let order = "kernel/fs/nls-base.ko\nkernel/fs/fat/vfat.ko\nkernel/fs/fat/fat.ko\n";
        let graph = Graph::new(sample(), order).expect("no circle");
        assert_eq!(
            graph.dep(&[0, 1, 2]),
            "kernel/fs/nls-base.ko.xz:\n\
             kernel/fs/fat/vfat.ko.xz: kernel/fs/nls-base.ko.xz kernel/fs/fat/fat.ko.xz\n\
             kernel/fs/fat/fat.ko.xz:\n"
        );
        assert_eq!(graph.find("nls-base"), Some(0));
        assert_eq!(graph.find("nls_base"), Some(0));
    }

    #[test]
    fn a_circle_is_named() {
        let modules = vec![module("a.ko", &["a"], &["b"]), module("b.ko", &["b"], &["a"])];
        let error = Graph::new(modules, "").expect_err("a circle");
        assert_eq!(error, CycleError(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn aliases_are_normalized_outside_brackets() {
        assert_eq!(normalize("fs-vfat").as_deref(), Some("fs_vfat"));
        assert_eq!(normalize("usb:v1[0-9]-*").as_deref(), Some("usb:v1[0-9]_*"));
        assert_eq!(normalize("a]"), None);
        assert_eq!(normalize("a[b"), None);
    }

    #[test]
    fn device_nodes_need_a_name_and_a_number() {
        let mut modules = sample();
        modules[0].facts.aliases = vec!["devname:loop-control".into(), "char-major-10-237".into()];
        modules[1].facts.aliases = vec!["devname:nothing".into()];
        let graph = Graph::new(modules, "").expect("no circle");
        assert_eq!(
            graph.device_nodes(),
            "# Device nodes to trigger on-demand module loading.\nfat loop-control c10:237\n"
        );
    }
}
