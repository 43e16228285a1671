// SPDX-License-Identifier: Apache-2.0
//! A [`Profile`] out of a merged tree. The keys and defaults stand here and in `docs/profile.md`.

use std::collections::BTreeSet;

use kiln_init::handoff::{Absent, InstanceChange, Invalid, Source};

use super::{
    ABSENT, Binary, Boot, Debian, Disk, File, FileContent, Firewall, Group, INSTANCE_CHANGE,
    INVALID, Kernel, Machine, Metadata, OUTPUTS, Output, Packages, Profile, Prune, Services, User,
    check,
};
use crate::{
    diagnostic::{Diagnostic, Problems, Span, quoted, suggest},
    names,
    tree::TreePath,
    units::Bytes,
    workspace::Workspace,
    yaml::{
        Node, Value,
        fields::{
            self, Complaint, Fields, any, by_name, checked, choice, entries, list, number, parsed,
            switch,
        },
    },
};

/// The highest id that an account can have: 65534 is nobody, 65535 is invalid.
const MAX_ID: u64 = 65_533;

/// Complains about what is wrong in one file, whatever it extends.
pub(super) fn check_fragment(name: &str, node: &Node, workspace: &Workspace, problems: &Problems) {
    if let Some(fields) = Fields::top(node, problems, true) {
        let _ = fields.optional("schema", fields::schema);
        let _ = fields.optional("extends", |node, problems| match &node.value {
            Value::List(_) => list(checked(parent))(node, problems),
            _ => checked(parent)(node, problems).map(|name| vec![name]),
        });
        let _ = sections(name, &fields, workspace);
        fields.finish();
    }
}

/// A profile's name, or what the cluster file chooses one by.
fn parent(text: &str) -> Result<String, Complaint> {
    if text == super::merge::PROXY { Ok(text.to_owned()) } else { names::part(text) }
}

/// The parents that a file names, in order. What is no text was complained about already.
pub(super) fn extends<'a>(node: &'a Node) -> Vec<(&'a str, &'a Span)> {
    let Value::Map(entries) = &node.value else { return Vec::new() };
    let parents = match entries.iter().find(|(key, _)| key.text == "extends") {
        Some((_, Node { value: Value::List(items), .. })) => items.as_slice(),
        Some((_, node)) => std::slice::from_ref(node),
        None => &[],
    };
    let text = |node: &'a Node| match &node.value {
        Value::Scalar { text, .. } => Some((text.as_str(), &node.span)),
        _ => None,
    };
    parents.iter().filter_map(text).collect()
}

/// A whole profile.
pub(super) fn profile(
    role: &str,
    node: &Node,
    workspace: &Workspace,
    problems: &Problems,
) -> Option<Profile> {
    let fields = Fields::top(node, problems, false)?;
    // They are not in a merged tree, but they exist.
    let _ = (fields.node("schema"), fields.node("extends"));
    let profile = sections(role, &fields, workspace);
    fields.finish();
    let profile = profile?;
    check::check(&profile, node, problems);
    Some(profile)
}

fn sections(role: &str, top: &Fields<'_>, workspace: &Workspace) -> Option<Profile> {
    let fragment = top.is_fragment();
    let debian = top.section("debian", debian);
    let packages = top.section("packages", packages);
    let overlays = names_of(top, "overlays", |name| overlay(name, workspace));
    let files = top.or("files", Default::default(), |node, problems| {
        entries(node, problems, fragment, names::path, file)
    });
    let replace = names_of(top, "replace", names::path);
    let services = top.section("services", services);
    let users = top.or("users", Default::default(), |node, problems| {
        entries(node, problems, fragment, names::account, |name, fields| user(name, fields))
    });
    let groups = top.or("groups", Default::default(), |node, problems| {
        entries(node, problems, fragment, names::account, |_, group| {
            Some(Group { gid: group.required("gid", number(1..=MAX_ID))? })
        })
    });
    let sysctl = top.or("sysctl", Default::default(), |node, problems| {
        by_name(node, problems, names::sysctl, |_, _, node, problems| {
            checked(names::sysctl_value)(node, problems)
        })
    });
    let kernel = top.section("kernel", kernel);
    let boot = top.section("boot", |boot| Some(Boot { bios: boot.or("bios", false, switch)? }));
    let firewall = top.section("firewall", |firewall| {
        let rule = |text: &str| {
            text.parse().map_err(|error: super::firewall::ParseRuleError| Complaint {
                what: error.to_string(),
                help: None,
            })
        };
        Some(Firewall { allow: set_of(firewall, "allow", rule)? })
    });
    let binaries = top.or("binaries", Default::default(), |node, problems| {
        entries(node, problems, fragment, names::path, binary)
    });
    let prune = top.section("prune", |prune| {
        let drop = set_of(prune, "drop", names::pattern);
        let keep = set_of(prune, "keep", names::pattern);
        Some(Prune { drop: drop?, keep: keep? })
    });
    let disk = top.section("disk", disk);
    let outputs = top.or("outputs", vec![Output::Raw], united(fragment, word(&OUTPUTS)));
    let machine = top.section("machine", machine);
    let metadata = top.section("metadata", metadata);
    let vars = top.or("vars", Default::default(), |node, problems| {
        by_name(node, problems, names::variable, |_, _, node, problems| any(node, problems))
    });
    Some(Profile {
        role: role.to_owned(),
        debian: debian?,
        packages: packages?,
        overlays: overlays?,
        files: files?,
        replace: replace?.into_iter().collect(),
        services: services?,
        users: users?,
        groups: groups?,
        sysctl: sysctl?,
        kernel: kernel?,
        boot: boot?,
        firewall: firewall?,
        binaries: binaries?,
        images: Default::default(),
        prune: prune?,
        disk: disk?,
        outputs: outputs?.into_iter().collect(),
        machine: machine?,
        metadata: metadata?,
        vars: vars?,
    })
}

fn debian(fields: &Fields<'_>) -> Option<Debian> {
    let suite = fields.or("suite", "trixie".to_owned(), checked(names::suite));
    let main = vec!["main".to_owned()];
    let components = fields.or("components", main, united(fields.is_fragment(), names::suite));
    let architecture = fields.or("architecture", "amd64", choice(&[("amd64", "amd64")]));
    let updates = fields.or("updates", true, switch);
    let security = fields.or("security", true, switch);
    let from = fields.or("from", Default::default(), |node, problems| {
        by_name(node, problems, names::package, |_, _, node, problems| {
            checked(names::suite)(node, problems)
        })
    });
    Some(Debian {
        suite: suite?,
        components: components?,
        architecture: architecture?.to_owned(),
        updates: updates?,
        security: security?,
        from: from?,
    })
}

fn packages(fields: &Fields<'_>) -> Option<Packages> {
    let install = fields.required("install", united(fields.is_fragment(), names::package));
    let omit = fields.or("omit", Default::default(), |node, problems| {
        by_name(node, problems, names::package, |_, _, node, problems| {
            checked(names::line)(node, problems)
        })
    });
    let prefer = fields.or("prefer", Default::default(), |node, problems| {
        by_name(node, problems, names::package, |_, _, node, problems| {
            checked(names::package)(node, problems)
        })
    });
    Some(Packages { install: install?.into_iter().collect(), omit: omit?, prefer: prefer? })
}

fn overlay(name: &str, workspace: &Workspace) -> Result<String, Complaint> {
    let name = names::part(name)?;
    if workspace.overlays.contains_key(&name) {
        return Ok(name);
    }
    let title = format!("there is no folder 'overlays/{name}'");
    Err(Complaint::new(title, suggest(&name, workspace.overlays.keys().map(String::as_str))))
}

fn file(path: &TreePath, fields: &Fields<'_>) -> Option<File> {
    let owned = |text: &str| Ok::<_, Complaint>(text.to_owned());
    let contents = [
        fields.given("text", checked(owned)).map(|text| text.map(FileContent::Text)),
        fields
            .given("build-template", checked(owned))
            .map(|text| text.map(FileContent::BuildTemplate)),
        fields
            .given("boot-template", checked(owned))
            .map(|text| text.map(FileContent::BootTemplate)),
        fields
            .given("symlink", checked(names::line))
            .map(|target| target.map(FileContent::Symlink)),
        fields
            .given("directory", choice(&[("true", ())]))
            .map(|read| read.map(|()| FileContent::Directory)),
    ];
    let mode = fields.optional("mode", checked(names::mode));
    let owner = fields.or("owner", "root".to_owned(), checked(names::account));
    let group = fields.or("group", "root".to_owned(), checked(names::account));
    let mut given = contents.into_iter().flatten();
    let (Some(content), None) = (given.next(), given.next()) else {
        fields.complain(Diagnostic::new(format!("what '{path}' is must be said once")).help(
            "write exactly one of 'text', 'build-template', 'boot-template', 'symlink', 'directory: true'",
        ));
        return None;
    };
    let content = content?;
    if matches!(content, FileContent::BootTemplate(_)) && !path.as_str().starts_with("/etc/") {
        fields
            .complain(Diagnostic::new(format!("first boot cannot write '{path}'")).help(
                "only '/etc' can be written then: use 'build-template', or a path in '/etc'",
            ));
    }
    let default = if matches!(content, FileContent::Directory) { 0o755 } else { 0o644 };
    Some(File { content, mode: mode?.unwrap_or(default), owner: owner?, group: group? })
}

fn services(fields: &Fields<'_>) -> Option<Services> {
    let enable = set_of(fields, "enable", names::unit);
    let mask = set_of(fields, "mask", names::unit);
    let ready = set_of(fields, "ready", names::unit);
    let ready_timeout = fields.or("ready-timeout", 300, number(1..=86_400));
    let default_target =
        fields.or("default-target", "multi-user.target".to_owned(), checked(names::target));
    Some(Services {
        enable: enable?,
        mask: mask?,
        ready: ready?,
        ready_timeout: ready_timeout?,
        default_target: default_target?,
    })
}

fn user(name: &str, fields: &Fields<'_>) -> Option<User> {
    let path = |text: &str| names::path(text).and_then(|path| names::passwd_field(path.as_str()));
    let uid = fields.required("uid", number(1..=MAX_ID));
    let group = fields.or("group", name.to_owned(), checked(names::account));
    let home = fields.or("home", "/nonexistent".to_owned(), checked(path));
    let shell = fields.or("shell", "/usr/sbin/nologin".to_owned(), checked(path));
    let comment = fields.or("comment", String::new(), checked(names::passwd_field));
    let groups = set_of(fields, "groups", names::account);
    let admin = fields.or("admin", false, switch);
    Some(User {
        uid: uid?,
        group: group?,
        home: home?,
        shell: shell?,
        comment: comment?,
        groups: groups?,
        admin: admin?,
    })
}

fn kernel(fields: &Fields<'_>) -> Option<Kernel> {
    let package = fields.required("package", checked(names::package));
    let modules = set_of(fields, "modules", names::module);
    let initrd_modules = set_of(fields, "initrd-modules", names::module);
    let arguments = names_of(fields, "arguments", names::kernel_argument);
    Some(Kernel {
        package: package?,
        modules: modules?,
        initrd_modules: initrd_modules?,
        arguments: arguments?,
    })
}

fn binary(_: &TreePath, fields: &Fields<'_>) -> Option<Binary> {
    let source = fields.required("source", checked(names::workspace_path));
    let sha256 = fields.required("sha256", parsed);
    let mode = fields.or("mode", 0o755, checked(names::mode));
    Some(Binary { source: source?, sha256: sha256?, mode: mode? })
}

fn disk(fields: &Fields<'_>) -> Option<Disk> {
    let size = fields.or("size", Bytes::mib(4096), parsed);
    let esp = fields.or("esp", Bytes::mib(256), parsed);
    let root = fields.or("root", Bytes::mib(1024), parsed);
    let verity = fields.or("verity", Bytes::mib(16), parsed);
    Some(Disk { size: size?, esp: esp?, root: root?, verity: verity? })
}

fn machine(fields: &Fields<'_>) -> Option<Machine> {
    let cpus = fields.or("cpus", 2, number(1..=768));
    let memory = fields.or("memory", Bytes::mib(2048), parsed);
    Some(Machine { cpus: cpus?, memory: memory? })
}

fn metadata(fields: &Fields<'_>) -> Option<Metadata> {
    let words = Source::ALL.map(|source| (source.word(), source));
    let local = Source::ALL.into_iter().filter(|source| !source.is_remote()).collect();
    let sources = fields.or("sources", local, united(fields.is_fragment(), word(&words)));
    let absent = fields.or("absent", Absent::Refuse, choice(&ABSENT));
    let invalid = fields.or("invalid", Invalid::Refuse, choice(&INVALID));
    let change = fields.or("instance-change", InstanceChange::Keep, choice(&INSTANCE_CHANGE));
    let wait = fields.or("wait", 10, number(0..=600));
    let wipe = fields.or("wipe", false, switch);
    let url = fields.optional("url", checked(names::metadata_url));
    Some(Metadata {
        sources: sources?,
        absent: absent?,
        invalid: invalid?,
        instance_change: change?,
        wait: wait?,
        wipe: wipe?,
        url: url?,
        write_files: names_of(fields, "write-files", names::writable)?,
    })
}

/// A list of names as a set.
fn set_of<T: Ord>(
    fields: &Fields<'_>,
    key: &'static str,
    check: impl Fn(&str) -> Result<T, Complaint>,
) -> Option<BTreeSet<T>> {
    names_of(fields, key, check).map(|names| names.into_iter().collect())
}

/// A list of names in order.
fn names_of<T: PartialEq>(
    fields: &Fields<'_>,
    key: &'static str,
    check: impl Fn(&str) -> Result<T, Complaint>,
) -> Option<Vec<T>> {
    fields.or(key, Vec::new(), united(fields.is_fragment(), check))
}

/// Reads a list to which several files may have added. `-name` takes out what stands before it,
/// `-*` all of it; what a name in a fragment refers to is not known.
fn united<T: PartialEq>(
    fragment: bool,
    check: impl Fn(&str) -> Result<T, Complaint>,
) -> impl Fn(&Node, &Problems) -> Option<Vec<T>> {
    move |node, problems| {
        let mut names: Vec<(T, &Node)> = Vec::new();
        for item in fields::items(node, problems)? {
            let Some(text) = fields::text(item, problems) else { continue };
            let (remove, name) = match text.strip_prefix('-') {
                Some("*") => {
                    names.clear();
                    continue;
                }
                Some(name) => (true, name),
                None => (false, text),
            };
            let name = match check(name) {
                Ok(name) => name,
                Err(complaint) => {
                    problems.add(complaint.at(&item.span));
                    continue;
                }
            };
            let present = names.iter().position(|(other, _)| *other == name);
            match (remove, present) {
                (false, None) => names.push((name, item)),
                (false, Some(at)) => complain_twice(names[at].1, item, text, problems),
                (true, Some(at)) => drop(names.remove(at)),
                (true, None) if fragment => {}
                (true, None) => problems.add(
                    Diagnostic::new(format!("{} is not inherited, so it cannot be taken out", quoted(&text[1..])))
                        .at(&item.span)
                        .help("remove the entry, or look for its name in the profiles that this one extends"),
                ),
            }
        }
        Some(names.into_iter().map(|(name, _)| name).collect())
    }
}

/// The same name in two files is fine, in one file it is a slip.
fn complain_twice(first: &Node, second: &Node, text: &str, problems: &Problems) {
    if first.span.source == second.span.source {
        problems.add(
            Diagnostic::new(format!("{} stands here twice", quoted(text)))
                .at(&second.span)
                .also(&first.span, "first here")
                .help("remove one"),
        );
    }
}

/// One of a few words, for [`united`].
fn word<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&str) -> Result<T, Complaint> {
    move |text| fields::one_of(words, text)
}
