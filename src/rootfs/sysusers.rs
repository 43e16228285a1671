// SPDX-License-Identifier: Apache-2.0
//! The language of sysusers.d(5): which system accounts the packages want.
//!
//! Lines are `TYPE NAME ID GECOS HOME SHELL`. All four types are read; what an `r` line says
//! (from where dynamic ids come) does not count, because our ids are chosen by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Kind, Tree, TreePath};

/// What one or several files declare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) users: BTreeMap<String, User>,
    /// The id, if the declaration fixes it.
    pub(super) groups: BTreeMap<String, Option<u32>>,
    /// Users by the groups that they are in beside their own.
    pub(super) members: BTreeMap<String, BTreeSet<String>>,
}

/// A `u` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: Option<u32>,
    pub(super) group: PrimaryGroup,
    pub(super) comment: String,
    pub(super) home: Option<String>,
    pub(super) shell: Option<String>,
    /// `u!`: the account is locked for good.
    pub(super) locked: bool,
}

/// A user's primary group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PrimaryGroup {
    /// Has the user's name, and its id where possible.
    Own,
    Id(u32),
    Named(String),
}

/// A line that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}:{line}: {problem}")]
pub struct Error {
    pub path: TreePath,
    pub line: usize,
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("expected one of u, u!, g, m, r, found '{0}'")]
    Type(String),
    #[error("a name is missing")]
    NoName,
    #[error("'{0}' is no account name")]
    Name(String),
    #[error("'{0}' is no id: expected '-', a number, UID:GID or UID:GROUP")]
    Id(String),
    #[error("'{0}' contains a specifier or a ':', which cannot be known at build time")]
    Field(String),
    #[error("a quote is not closed")]
    Quote,
    #[error("the file is not UTF-8 text that can be read")]
    Text,
}

/// Folders of sysusers.d in the image; a name in an earlier one hides the same name in later ones.
const FOLDERS: [&str; 2] = ["/etc/sysusers.d", "/usr/lib/sysusers.d"];

/// Reads every `sysusers.d/*.conf` of a tree, in the order of their names.
///
/// # Errors
/// A line is not understood.
pub(super) fn read(tree: &Tree) -> Result<Declared, Error> {
    let mut files: BTreeMap<String, TreePath> = BTreeMap::new();
    for folder in FOLDERS.map(TreePath::literal) {
        for (path, _) in tree.children(&folder).filter(|(path, _)| path.as_str().ends_with(".conf"))
        {
            files.entry(path.file_name().to_owned()).or_insert_with(|| path.clone());
        }
    }
    let mut declared = Declared::default();
    for path in files.into_values() {
        let unreadable = || Error { path: path.clone(), line: 1, problem: Problem::Text };
        let target = tree.resolve(&path, true).map_err(|_| unreadable())?;
        // A link to /dev/null hides a file of that name.
        let Some(Kind::File(content)) = tree.get(&target).map(|inode| &inode.kind) else {
            continue;
        };
        let bytes = content.to_vec().map_err(|_| unreadable())?;
        let text = std::str::from_utf8(&bytes).map_err(|_| unreadable())?;
        parse(text, &mut declared).map_err(|(line, problem)| Error {
            path: path.clone(),
            line,
            problem,
        })?;
    }
    Ok(declared)
}

/// Adds what a file declares; the first declaration of a name stays. The error has its line.
pub(super) fn parse(text: &str, declared: &mut Declared) -> Result<(), (usize, Problem)> {
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            parse_line(line, declared).map_err(|problem| (number + 1, problem))?;
        }
    }
    Ok(())
}

fn parse_line(line: &str, declared: &mut Declared) -> Result<(), Problem> {
    let mut fields = fields(line)?.into_iter();
    let kind = fields.next().unwrap_or_default();
    let name = fields.next().ok_or(Problem::NoName)?;
    if kind == "r" {
        return Ok(());
    }
    let name = valid_name(name)?;
    let id = fields.next().filter(|field| field != "-");
    match &*kind {
        "g" => {
            let gid = id.map(|id| id.parse().map_err(|_| Problem::Id(id))).transpose()?;
            declared.groups.entry(name).or_insert(gid);
        }
        "m" => {
            let group = valid_name(id.ok_or(Problem::NoName)?)?;
            declared.groups.entry(group.clone()).or_insert(None);
            declared.members.entry(group).or_default().insert(name);
        }
        "u" | "u!" => {
            let (uid, group) = user_ids(id)?;
            let mut next =
                || fields.next().filter(|field| field != "-").map(valid_field).transpose();
            let user = User {
                uid,
                group,
                comment: next()?.unwrap_or_default(),
                home: next()?,
                shell: next()?,
                locked: kind == "u!",
            };
            declared.users.entry(name).or_insert(user);
        }
        _ => return Err(Problem::Type(kind)),
    }
    Ok(())
}

fn user_ids(id: Option<String>) -> Result<(Option<u32>, PrimaryGroup), Problem> {
    let Some(id) = id else { return Ok((None, PrimaryGroup::Own)) };
    let (uid, group) = match id.split_once(':') {
        None => (&*id, PrimaryGroup::Own),
        Some((uid, group)) => (
            uid,
            group.parse().map_or_else(|_| PrimaryGroup::Named(group.to_owned()), PrimaryGroup::Id),
        ),
    };
    let uid = match uid {
        "-" => None,
        number => Some(number.parse().map_err(|_| Problem::Id(id.clone()))?),
    };
    if let PrimaryGroup::Named(group) = &group {
        valid_name(group.clone())?;
    }
    Ok((uid, group))
}

/// Whether a name can stand in /etc/passwd (systemd's strict rule, with the leading underscore).
pub(super) fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    first && rest && name.len() <= 31
}

fn valid_name(name: String) -> Result<String, Problem> {
    if is_name(&name) { Ok(name) } else { Err(Problem::Name(name)) }
}

fn valid_field(field: String) -> Result<String, Problem> {
    if field.contains([':', '%', '\n']) { Err(Problem::Field(field)) } else { Ok(field) }
}

/// Splits at blanks; single and double quotes hold a field together.
fn fields(line: &str) -> Result<Vec<String>, Problem> {
    let mut fields = Vec::new();
    let mut field: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => field.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                quote = Some(character);
                field.get_or_insert_default();
            }
            (None, ' ' | '\t') => fields.extend(field.take()),
            (None, _) => field.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err(Problem::Quote);
    }
    fields.extend(field);
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: Option<u32>, group: PrimaryGroup) -> User {
        User { uid, group, comment: String::new(), home: None, shell: None, locked: false }
    }

    #[test]
    fn every_kind_of_line_is_read() {
        let mut declared = Declared::default();
        let text = "# comment\n\n\
            g shadow 42 -\n\
            g input -\n\
            u root 0 \"Super User\" /root /bin/bash\n\
            u sync 4:65534 - /bin /bin/sync\n\
            u! systemd-network - 'systemd Network Management'\n\
            u web -:www - - -\n\
            m web ssl-cert\n\
            r - 500-900\n";
        parse(text, &mut declared).expect("valid");
        let root = User {
            comment: "Super User".into(),
            home: Some("/root".into()),
            shell: Some("/bin/bash".into()),
            ..user(Some(0), PrimaryGroup::Own)
        };
        let sync = User {
            home: Some("/bin".into()),
            shell: Some("/bin/sync".into()),
            ..user(Some(4), PrimaryGroup::Id(65534))
        };
        let network = User {
            comment: "systemd Network Management".into(),
            locked: true,
            ..user(None, PrimaryGroup::Own)
        };
        let expected = Declared {
            users: BTreeMap::from([
                ("root".into(), root),
                ("sync".into(), sync),
                ("systemd-network".into(), network),
                ("web".into(), user(None, PrimaryGroup::Named("www".into()))),
            ]),
            groups: BTreeMap::from([
                ("shadow".into(), Some(42)),
                ("input".into(), None),
                ("ssl-cert".into(), None),
            ]),
            members: BTreeMap::from([("ssl-cert".into(), BTreeSet::from(["web".into()]))]),
        };
        assert_eq!(declared, expected);
    }

    #[test]
    fn the_first_declaration_stays() {
        let mut declared = Declared::default();
        parse("g a 1\ng a 2\n", &mut declared).expect("valid");
        assert_eq!(declared.groups["a"], Some(1));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (text, line, message) in [
            ("g a 1\nx b -", 2, "expected one of u, u!, g, m, r, found 'x'"),
            ("u", 1, "a name is missing"),
            ("u a:b -", 1, "'a:b' is no account name"),
            ("u 1a -", 1, "'1a' is no account name"),
            ("g a x", 1, "'x' is no id: expected '-', a number, UID:GID or UID:GROUP"),
            ("u a /path", 1, "'/path' is no id: expected '-', a number, UID:GID or UID:GROUP"),
            ("u a - 'open", 1, "a quote is not closed"),
            (
                "u a - a /home/%b",
                1,
                "'/home/%b' contains a specifier or a ':', which cannot be known at build time",
            ),
        ] {
            let error = parse(text, &mut Declared::default()).expect_err(text);
            assert_eq!((error.0, error.1.to_string()), (line, message.to_owned()));
        }
    }
}
