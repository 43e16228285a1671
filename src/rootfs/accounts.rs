// SPDX-License-Identifier: Apache-2.0
//! passwd, group, shadow and gshadow: every account the image will ever have.
//!
//! Accounts come from `sysusers.d` of packages and overlays and from the profile. An id that
//! nobody fixes is chosen by the name alone, so that files in `/var` keep their owner when an
//! update brings other packages: well-known names have a number here, any other name gets one
//! from its hash. Nobody has a password.

use std::collections::{BTreeMap, BTreeSet};

use kiln_init::handoff::Account;

use super::{
    did_you_mean,
    draft::{Draft, Owner},
    sysusers::{self, Declared, PrimaryGroup},
};
use crate::{
    digest::Digest,
    tree::{Origin, TreePath},
};

/// Ids of well-known system accounts, user and group alike. Never change a line: files of
/// running nodes belong to these numbers. (199 to 150, as Debian never assigns these statically.)
const WELL_KNOWN: [(&str, u32); 17] = [
    ("messagebus", 199),
    ("systemd-journal", 198),
    ("systemd-network", 197),
    ("systemd-resolve", 196),
    ("systemd-timesync", 195),
    ("systemd-coredump", 194),
    ("systemd-oom", 193),
    ("systemd-journal-remote", 192),
    ("systemd-journal-upload", 191),
    ("polkitd", 190),
    ("tss", 189),
    ("sshd", 188),
    ("input", 179),
    ("sgx", 178),
    ("clock", 177),
    ("kvm", 176),
    ("render", 175),
];

/// Where ids of other names lie: above the well-known ones, below those of people.
const HASHED: std::ops::Range<u32> = 200..800;

/// Accounts without which no root works, if no package declares them.
const ESSENTIAL: &str = "u root 0 - /root /bin/bash\nu nobody 65534:65534 - /nonexistent /usr/sbin/nologin\n\
    g nogroup 65534\ng shadow 42\ng tty 5\n";

const STAGE: &str = "accounts";
/// The home of those who have none.
const NO_HOME: &str = "/nonexistent";
/// A shell that refuses, which stands for every shell that the image does not have.
const NO_SHELL: &str = "/usr/sbin/nologin";
/// What root gets instead of a shell that the image does not have.
const PLAIN_SHELL: &str = "/bin/sh";

/// Why the accounts contradict one another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "'{path}' of {origin} belongs to {noun} '{name}', which no package and no profile declares"
    )]
    Unknown { path: TreePath, origin: Origin, noun: &'static str, name: String },
    #[error("user '{user}' wants group '{group}', which no package and no profile declares{help}")]
    NoGroup { user: String, group: String, help: String },
    #[error("{noun} '{name}' has id {id}, but so has '{other}'")]
    Taken { noun: &'static str, name: String, other: String, id: u32 },
    #[error("{noun} '{name}' has id {first} in the packages, but {second} in the profile")]
    Contradiction { noun: &'static str, name: String, first: u32, second: u32 },
    #[error("'{0}' under users or groups is no account name")]
    Name(String),
    #[error("user '{user}': '{field}' contains ':' or a line end")]
    Field { user: String, field: String },
}

struct User {
    uid: u32,
    gid: u32,
    comment: String,
    home: String,
    shell: String,
    locked: bool,
}

/// All accounts, with their numbers.
#[derive(Default)]
struct Accounts {
    users: BTreeMap<String, User>,
    groups: BTreeMap<String, u32>,
    members: BTreeMap<String, BTreeSet<String>>,
}

/// Writes the account files, fills the draft's tables of ids, and returns the profile's accounts that
/// may log in, which are those that metadata can give ssh keys.
pub(super) fn write(draft: &mut Draft<'_>) -> Result<Vec<Account>, super::Error> {
    let mut declared = sysusers::read(&draft.tree)?;
    sysusers::parse(ESSENTIAL, &mut declared).expect("our own lines are valid");
    let profile = &draft.plan.profile;
    merge_profile(&mut declared, profile)?;
    let mut accounts = number(declared)?;
    for user in accounts.users.values_mut().filter(|user| !draft.has(&user.shell)) {
        let refuses = user.uid != 0 || !draft.has(PLAIN_SHELL);
        user.shell = if refuses { NO_SHELL } else { PLAIN_SHELL }.to_owned();
    }
    let log_in = profile.users.iter().filter(|(name, user)| {
        user.admin || ![NO_SHELL, "/bin/false"].contains(&&*accounts.users[*name].shell)
    });
    let log_in: Vec<Account> = log_in
        .map(|(name, _)| {
            let user = &accounts.users[name];
            Account { name: name.clone(), uid: user.uid, gid: user.gid }
        })
        .collect();
    for account in &log_in {
        make_home(draft, account, &accounts.users[&account.name].home)?;
    }
    write_files(draft, &accounts)?;
    draft.users = accounts.users.into_iter().map(|(name, user)| (name, user.uid)).collect();
    draft.groups = accounts.groups;
    // Packages name static ids that nobody may have declared, by number.
    for id in draft
        .owners
        .values()
        .flat_map(|owner| [&owner.user, &owner.group])
        .cloned()
        .collect::<BTreeSet<_>>()
    {
        if let Ok(number) = id.parse() {
            draft.users.entry(id.clone()).or_insert(number);
            draft.groups.entry(id).or_insert(number);
        }
    }
    Ok(log_in)
}

/// Makes the home of somebody who may log in, unless an overlay has made it.
fn make_home(draft: &mut Draft<'_>, account: &Account, home: &str) -> Result<(), super::Error> {
    if home == NO_HOME || draft.has(home) {
        return Ok(());
    }
    draft.directory(home, 0o700, STAGE)?;
    let path = draft.find(home).map(|(path, _)| path);
    if let Some(inode) = path.and_then(|path| draft.tree.get_mut(&path)) {
        (inode.meta.uid, inode.meta.gid) = (account.uid, account.gid);
    }
    Ok(())
}

/// Adds the profile's accounts to the packages'.
fn merge_profile(declared: &mut Declared, profile: &crate::profile::Profile) -> Result<(), Error> {
    for (name, group) in &profile.groups {
        fix(declared.groups.entry(valid(name)?).or_insert(None), group.gid, "group", name)?;
    }
    for (name, user) in &profile.users {
        for field in [&user.home, &user.shell, &user.comment] {
            if field.contains([':', '\n']) {
                return Err(Error::Field { user: name.clone(), field: field.clone() });
            }
        }
        let own = user.group == *name;
        let ours = sysusers::User {
            uid: Some(user.uid),
            group: if own { PrimaryGroup::Own } else { PrimaryGroup::Named(user.group.clone()) },
            comment: user.comment.clone(),
            home: Some(user.home.clone()),
            shell: Some(user.shell.clone()),
            locked: false,
        };
        if let Some(theirs) = declared.users.insert(valid(name)?, ours)
            && let Some(first) = theirs.uid.filter(|uid| *uid != user.uid)
        {
            return Err(Error::Contradiction {
                noun: "user",
                name: name.clone(),
                first,
                second: user.uid,
            });
        }
    }
    for (name, user) in &profile.users {
        for group in &user.groups {
            if !declared.groups.contains_key(group) && !declared.users.contains_key(group) {
                let known = declared.groups.keys().chain(declared.users.keys());
                let help = did_you_mean(group, known.map(|name| &**name));
                return Err(Error::NoGroup { user: name.clone(), group: group.clone(), help });
            }
            declared.members.entry(group.clone()).or_default().insert(name.clone());
        }
    }
    Ok(())
}

fn valid(name: &str) -> Result<String, Error> {
    if sysusers::is_name(name) { Ok(name.to_owned()) } else { Err(Error::Name(name.to_owned())) }
}

fn fix(id: &mut Option<u32>, wanted: u32, noun: &'static str, name: &str) -> Result<(), Error> {
    match id.replace(wanted) {
        Some(first) if first != wanted => {
            Err(Error::Contradiction { noun, name: name.to_owned(), first, second: wanted })
        }
        _ => Ok(()),
    }
}

/// Gives every account its number.
fn number(mut declared: Declared) -> Result<Accounts, Error> {
    for (group, users) in &declared.members {
        declared.groups.entry(group.clone()).or_default();
        for user in users {
            declared.users.entry(user.clone()).or_default();
        }
    }
    // A user's own group has the user's number.
    for (name, user) in &declared.users {
        if user.group == PrimaryGroup::Own {
            let gid = declared.groups.entry(name.clone()).or_insert(None);
            *gid = gid.or(user.uid);
        }
    }

    let mut uids = BTreeMap::new();
    for (name, user) in &declared.users {
        claim(&mut uids, user.uid, name, "user")?;
    }
    let mut gids = BTreeMap::new();
    for (name, gid) in &declared.groups {
        claim(&mut gids, *gid, name, "group")?;
    }
    // A number that no fixed user and no fixed group has, so that both can share it.
    let fixed: BTreeSet<u32> = gids.keys().chain(uids.keys()).copied().collect();
    let mut choose = Choice { taken: fixed, chosen: BTreeMap::new() };
    let names: BTreeSet<&String> = declared.groups.keys().chain(declared.users.keys()).collect();
    let chosen: BTreeMap<String, u32> =
        names.into_iter().map(|name| (name.clone(), choose.id(name))).collect();

    let groups: BTreeMap<String, u32> = declared
        .groups
        .iter()
        .map(|(name, gid)| (name.clone(), gid.unwrap_or(chosen[name])))
        .collect();
    let mut users = BTreeMap::new();
    for (name, user) in declared.users {
        let gid = match user.group {
            PrimaryGroup::Own => groups[&name],
            PrimaryGroup::Id(gid) => gid,
            PrimaryGroup::Named(group) => known_group(&groups, &name, &group)?,
        };
        let user = User {
            uid: user.uid.unwrap_or(chosen[&name]),
            gid,
            comment: user.comment,
            home: user.home.unwrap_or_else(|| "/".to_owned()),
            shell: user.shell.unwrap_or_else(|| NO_SHELL.to_owned()),
            locked: user.locked,
        };
        users.insert(name, user);
    }
    Ok(Accounts { users, groups, members: declared.members })
}

/// Takes a fixed id for a name.
fn claim(
    taken: &mut BTreeMap<u32, String>,
    id: Option<u32>,
    name: &str,
    noun: &'static str,
) -> Result<(), Error> {
    let Some(id) = id else { return Ok(()) };
    match taken.insert(id, name.to_owned()) {
        Some(other) => Err(Error::Taken { noun, name: name.to_owned(), other, id }),
        None => Ok(()),
    }
}

fn known_group(groups: &BTreeMap<String, u32>, user: &str, group: &str) -> Result<u32, Error> {
    groups.get(group).copied().ok_or_else(|| Error::NoGroup {
        user: user.to_owned(),
        group: group.to_owned(),
        help: did_you_mean(group, groups.keys().map(|name| &**name)),
    })
}

/// Numbers for names that have none.
struct Choice {
    taken: BTreeSet<u32>,
    chosen: BTreeMap<String, u32>,
}

impl Choice {
    fn id(&mut self, name: &str) -> u32 {
        if let Some(id) = self.chosen.get(name) {
            return *id;
        }
        let well_known = WELL_KNOWN.iter().find(|(known, _)| *known == name).map(|(_, id)| *id);
        let hash = Digest::of(name.as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        let width = HASHED.end - HASHED.start;
        let start = u32::from_be_bytes([a, b, c, d]) % width;
        let id = well_known
            .into_iter()
            .chain((0..width).map(|step| HASHED.start + (start + step) % width))
            .find(|id| !self.taken.contains(id))
            .expect("an image has fewer than 600 accounts");
        self.taken.insert(id);
        self.chosen.insert(name.to_owned(), id);
        id
    }
}

fn write_files(draft: &mut Draft<'_>, accounts: &Accounts) -> Result<(), super::Error> {
    let (users, groups) = (&accounts.users, &accounts.groups);
    let mut by_uid: Vec<(&String, &User)> = users.iter().collect();
    by_uid.sort_by_key(|(_, user)| user.uid);
    let mut by_gid: Vec<(&String, &u32)> = groups.iter().collect();
    by_gid.sort_by_key(|(_, gid)| **gid);
    let members = |group: &str| {
        let names = accounts.members.get(group).into_iter().flatten();
        names.map(|name| &**name).collect::<Vec<&str>>().join(",")
    };
    let lines = |lines: Vec<String>| lines.concat();

    let passwd = by_uid.iter().map(|(name, user)| {
        let User { uid, gid, comment, home, shell, .. } = user;
        format!("{name}:x:{uid}:{gid}:{comment}:{home}:{shell}\n")
    });
    draft.write("/etc/passwd", lines(passwd.collect()), STAGE)?;
    let group = by_gid.iter().map(|(name, gid)| format!("{name}:x:{gid}:{}\n", members(name)));
    draft.write("/etc/group", lines(group.collect()), STAGE)?;
    // `!*` is no hash of any password; 1 as the expiry date locks every other way in as well.
    let shadow = by_uid
        .iter()
        .map(|(name, user)| format!("{name}:!*::::::{}:\n", if user.locked { "1" } else { "" }));
    draft.write_mode("/etc/shadow", 0o640, lines(shadow.collect()), STAGE)?;
    let gshadow = by_gid.iter().map(|(name, _)| format!("{name}:!*::{}\n", members(name)));
    draft.write_mode("/etc/gshadow", 0o640, lines(gshadow.collect()), STAGE)?;
    for path in ["/etc/shadow", "/etc/gshadow"].map(TreePath::literal) {
        let owner = Owner { user: "root".to_owned(), group: "shadow".to_owned() };
        draft.owners.insert(path, owner);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(text: &str) -> Result<Accounts, Error> {
        let mut declared = Declared::default();
        sysusers::parse(text, &mut declared).expect("valid lines");
        number(declared)
    }

    #[test]
    fn a_user_and_its_group_share_a_number_that_depends_on_the_name_only() {
        let alone = numbered("u chrony -").expect("numbers");
        let crowd = numbered("u chrony -\nu haproxy -\nu etcd -\ng render\nu messagebus -")
            .expect("numbers");
        assert_eq!(alone.users["chrony"].uid, crowd.users["chrony"].uid);
        assert_eq!(crowd.users["chrony"].gid, crowd.users["chrony"].uid);
        assert!(HASHED.contains(&crowd.users["chrony"].uid));
        assert_eq!(crowd.users["messagebus"].uid, 199);
        assert_eq!(crowd.groups["render"], 175);
    }

    #[test]
    fn chosen_numbers_avoid_fixed_ones() {
        let chosen = numbered("u chrony -").expect("numbers").users["chrony"].uid;
        let accounts = numbered(&format!("u chrony -\ng other {chosen}")).expect("numbers");
        assert_ne!(accounts.users["chrony"].uid, chosen);
    }

    #[test]
    fn fixed_and_named_groups_are_kept() {
        let accounts =
            numbered("g www 33\nu web 8:www\nu sync 4:65534\nm web tty\ng tty 5").expect("numbers");
        assert_eq!((accounts.users["web"].uid, accounts.users["web"].gid), (8, 33));
        assert_eq!(accounts.users["sync"].gid, 65534);
        assert!(!accounts.groups.contains_key("web"));
        assert!(accounts.members["tty"].contains("web"));
    }

    #[test]
    fn contradictions_name_both_sides() {
        let error = numbered("u a 7\nu b 7").err().expect("taken");
        assert_eq!(error.to_string(), "user 'b' has id 7, but so has 'a'");
        let error = numbered("g haproxy\nu a -:haproxi").err().expect("no group");
        assert_eq!(
            error.to_string(),
            "user 'a' wants group 'haproxi', which no package and no profile declares; did you mean 'haproxy'?"
        );
    }

    #[test]
    fn well_known_numbers_are_unique_and_below_the_hashed_ones() {
        let ids: BTreeSet<u32> = WELL_KNOWN.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), WELL_KNOWN.len());
        assert!(ids.iter().all(|id| (100..HASHED.start).contains(id)));
    }
}
