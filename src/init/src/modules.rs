// SPDX-License-Identifier: Apache-2.0
//! Which kernel modules a device needs, and in which order: depmod's text files, modules.dep(5).
//!
//! Names are compared as the kernel does, with `-` and `_` the same.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// What depmod knows of the modules of one kernel.
#[derive(Debug, Default)]
pub struct Modules {
    /// Path below the modules folder, and the modules it needs, by name.
    files: BTreeMap<String, (String, Vec<String>)>,
    /// The text of `modules.alias`. It has thousands of lines, and most of this program's lives
    /// ask for modules by name only: it is taken apart when first needed, and never copied.
    alias_text: String,
    /// Where pattern and module stand in it, in the file's order.
    aliases: OnceCell<Vec<(Range<usize>, Range<usize>)>>,
    /// Modules that help, before and after a module.
    soft: BTreeMap<String, (Vec<String>, Vec<String>)>,
}

impl Modules {
    /// Reads the texts of `modules.dep`, `modules.alias` and `modules.softdep`; lines of other
    /// forms are passed over.
    pub fn parse(dep: &str, alias: String, softdep: &str) -> Self {
        let mut modules = Self { alias_text: alias, ..Self::default() };
        for line in dep.lines() {
            let Some((path, needs)) = line.split_once(':') else { continue };
            let needs = needs.split_ascii_whitespace().map(name_of).collect();
            modules.files.insert(name_of(path), (path.to_owned(), needs));
        }
        for line in softdep.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some("softdep"), Some(module)) = (words.next(), words.next()) else { continue };
            let (pre, post) = modules.soft.entry(canonical(module)).or_default();
            let mut before = true;
            for word in words {
                match word {
                    "pre:" => before = true,
                    "post:" => before = false,
                    _ if before => pre.push(canonical(word)),
                    _ => post.push(canonical(word)),
                }
            }
        }
        modules
    }

    /// Paths of the files to load for `what`, a module's name or an alias (a device's modalias,
    /// `fs-ext4`, `crypto-sha256`), each after what it needs. Empty if no module is meant.
    pub fn files_for(&self, what: &str) -> Vec<&str> {
        let what = canonical(what);
        let mut files = Vec::new();
        let mut seen = BTreeSet::new();
        if self.files.contains_key(&what) {
            self.collect(&what, &mut seen, &mut files);
        } else {
            for (pattern, module) in self.aliases() {
                if matches(pattern, &what) {
                    self.collect(&canonical(module), &mut seen, &mut files);
                }
            }
        }
        files
    }

    /// Every pattern with its module.
    fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = &*self.alias_text;
        let place = |word: &str| {
            let start = word.as_ptr().addr() - text.as_ptr().addr();
            start..start + word.len()
        };
        let read = || {
            let pairs = text.lines().filter_map(|line| {
                let mut words = line.strip_prefix("alias ")?.split(' ');
                Some((place(words.next()?), place(words.next()?)))
            });
            pairs.collect()
        };
        let both = |(pattern, module): &(Range<usize>, Range<usize>)| {
            Some((text.get(pattern.clone())?, text.get(module.clone())?))
        };
        self.aliases.get_or_init(read).iter().filter_map(both)
    }

    fn collect<'a>(&'a self, name: &str, seen: &mut BTreeSet<String>, files: &mut Vec<&'a str>) {
        let Some((path, needs)) = self.files.get(name) else { return };
        if !seen.insert(name.to_owned()) {
            return;
        }
        let soft = self.soft.get(name);
        let before = soft.map_or(&[][..], |(pre, _)| pre);
        let after = soft.map_or(&[][..], |(_, post)| post);
        for needed in needs.iter().chain(before) {
            self.collect(needed, seen, files);
        }
        files.push(path);
        for helper in after {
            self.collect(helper, seen, files);
        }
    }
}

/// The module in a file: `kernel/drivers/block/virtio_blk.ko.xz` is `virtio_blk`.
pub fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    canonical(file.split_once(".ko").map_or(file, |(name, _)| name))
}

/// `-` outside of brackets is `_`.
fn canonical(name: &str) -> String {
    let mut in_brackets = false;
    name.chars()
        .map(|c| {
            in_brackets = (in_brackets || c == '[') && c != ']';
            if c == '-' && !in_brackets { '_' } else { c }
        })
        .collect()
}

/// fnmatch(3) with `*`, `?` and `[…]`, as modules.alias uses it; the text is [`canonical`].
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last '*' stands, and how far it has reached.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match one(&pattern[p..], text[t]) {
            Step::Star => {
                star = Some((p, t));
                p += 1;
            }
            Step::Yes(width) => {
                p += width;
                t += 1;
            }
            Step::No => match &mut star {
                None => return false,
                Some((at, reached)) => {
                    *reached += 1;
                    (p, t) = (*at + 1, *reached);
                }
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

enum Step {
    Star,
    /// The byte matches so many bytes of the pattern.
    Yes(usize),
    No,
}

fn one(pattern: &[u8], byte: u8) -> Step {
    let yes = |yes: bool, width| if yes { Step::Yes(width) } else { Step::No };
    match pattern.first() {
        None => Step::No,
        Some(b'*') => Step::Star,
        Some(b'?') => Step::Yes(1),
        Some(b'[') => match pattern.iter().position(|byte| *byte == b']') {
            Some(end) => {
                let set = &pattern[1..end];
                let (negated, set) = match set.strip_prefix(b"!") {
                    Some(rest) => (true, rest),
                    None => (false, set),
                };
                yes(in_set(set, byte) != negated, end + 1)
            }
            None => yes(byte == b'[', 1),
        },
        Some(b'-') => yes(byte == b'_', 1),
        Some(literal) => yes(*literal == byte, 1),
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    while let [first, rest @ ..] = set {
        if let [b'-', last, more @ ..] = rest {
            if (*first..=*last).contains(&byte) {
                return true;
            }
            set = more;
        } else {
            if *first == byte {
                return true;
            }
            set = rest;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> Modules {
        Modules::parse(
            "kernel/a/virtio_blk.ko.xz: kernel/b/virtio-ring.ko.xz\n\
             kernel/b/virtio-ring.ko.xz:\n\
             kernel/c/dm-verity.ko.xz: kernel/c/dm-bufio.ko.xz kernel/c/dm-mod.ko.xz\n\
             kernel/c/dm-bufio.ko.xz: kernel/c/dm-mod.ko.xz\n\
             kernel/c/dm-mod.ko.xz:\n\
             kernel/d/x.ko: kernel/d/y.ko\nkernel/d/y.ko: kernel/d/x.ko\n",
            "# Aliases\nalias virtio:d00000002v* virtio_blk\nalias fs-overlay overlay\n\
             alias pci:v00008086d0000[12]*sv*sd*bc*sc*i* x\nalias a-b* y\n"
                .to_owned(),
            "softdep dm-verity pre: y post: virtio_blk\n",
        )
    }

    #[test]
    fn what_is_needed_comes_first() {
        let modules = modules();
        assert_eq!(
            modules.files_for("virtio:d00000002v00001AF4"),
            ["kernel/b/virtio-ring.ko.xz", "kernel/a/virtio_blk.ko.xz"]
        );
        assert_eq!(
            modules.files_for("dm_verity"),
            [
                "kernel/c/dm-mod.ko.xz",
                "kernel/c/dm-bufio.ko.xz",
                "kernel/d/x.ko",
                "kernel/d/y.ko",
                "kernel/c/dm-verity.ko.xz",
                "kernel/b/virtio-ring.ko.xz",
                "kernel/a/virtio_blk.ko.xz",
            ]
        );
        assert_eq!(modules.files_for("dm-verity"), modules.files_for("dm_verity"));
        assert_eq!(modules.files_for("a-bc"), ["kernel/d/x.ko", "kernel/d/y.ko"]);
        assert_eq!(modules.files_for("a_bc"), modules.files_for("a-bc"));
        assert_eq!(modules.files_for("unknown"), [""; 0]);
        assert_eq!(modules.files_for("fs-overlay"), [""; 0]);
    }

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, text, expected) in [
            (
                "pci:v00001AF4d00001000sv*sd*bc*sc*i*",
                "pci:v00001AF4d00001000sv00001AF4sd0bc01sc00i00",
                true,
            ),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("x[0-3a]y", "x2y", true),
            ("x[0-3a]y", "xay", true),
            ("x[0-3a]y", "x4y", false),
            ("x[!0-3]y", "x4y", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a**", "a", true),
            ("[", "[", true),
            ("dmi*:svn[Qq]EMU*:", "dmi:bvnX:svnQEMU:", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
