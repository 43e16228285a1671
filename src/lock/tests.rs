// SPDX-License-Identifier: Apache-2.0
use super::{changes::Changes, choose::Pins, *};
use crate::debian::index;

const DATE: u64 = 1_789_199_741;

fn role(install: &[&str]) -> LockedRole {
    LockedRole::new("amd64", ["debian trixie main"], install)
}

fn suite(archive: &str, name: &str, stanzas: &[(&str, &str, &str)]) -> choose::Suite {
    let stanza = |(name, version, fields): &(&str, &str, &str)| {
        let digest = Digest::of(format!("{archive} {name} {version}").as_bytes());
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}\
             Filename: pool/main/{name}_{version}_amd64.deb\nSize: 10\nSHA256: {digest}\n\n"
        )
    };
    let text: String = stanzas.iter().map(stanza).collect();
    choose::Suite {
        locked: LockedArchive {
            archive: archive.into(),
            suite: name.into(),
            date: DATE,
            release: Digest::of(name.as_bytes()),
        },
        packages: index::parse(text.as_bytes(), "amd64").unwrap(),
    }
}

fn choose(roles: &[(&str, &[&str])], suites: &[choose::Suite]) -> Result<Lock, choose::NoChoice> {
    let roles = roles.iter().map(|(name, install)| ((*name).to_owned(), role(install))).collect();
    choose::choose(&roles, suites, &Pins::new(), &BTreeMap::new())
}

/// Two roles, two archives.
fn lock() -> Lock {
    let debian = suite(
        "debian",
        "trixie",
        &[("bash", "5.2", "Depends: libc6\n"), ("libc6", "2.41", ""), ("haproxy", "3.0", "")],
    );
    let security = suite("debian-security", "trixie-security", &[("haproxy", "3.0.1", "")]);
    choose(&[("lb", &["haproxy", "bash"]), ("node", &["bash"])], &[debian, security]).unwrap()
}

fn pins(lock: &Lock) -> Vec<String> {
    let pin = |package: &LockedPackage| {
        let roles: Vec<_> = package.roles.iter().cloned().collect();
        let LockedPackage { name, version, archive, .. } = package;
        format!("{name} {version} {archive}: {}", roles.join(" "))
    };
    lock.packages.iter().map(pin).collect()
}

#[test]
fn roles_share_packages_and_the_newest_version_wins() {
    assert_eq!(
        pins(&lock()),
        [
            "bash 5.2 debian: lb node",
            "haproxy 3.0.1 debian-security: lb",
            "libc6 2.41 debian: lb node"
        ]
    );
}

#[test]
fn the_text_is_canonical_and_read_back() {
    let lock = lock();
    let text = lock.to_string();
    assert_eq!(Lock::parse(&text).as_ref(), Ok(&lock));
    assert_eq!(text, include_str!("golden.lock"));
    // The order of what people wrote does not matter.
    let debian = suite(
        "debian",
        "trixie",
        &[("haproxy", "3.0", ""), ("libc6", "2.41", ""), ("bash", "5.2", "Depends: libc6\n")],
    );
    let security = suite("debian-security", "trixie-security", &[("haproxy", "3.0.1", "")]);
    let other = choose(&[("node", &["bash"]), ("lb", &["bash", "haproxy"])], &[security, debian]);
    assert_eq!(other.unwrap().to_string(), text);
}

#[test]
fn a_problem_of_several_roles_is_told_once() {
    let debian = suite("debian", "trixie", &[("haproxy", "3.0", "Depends: lua\n")]);
    let error = choose(&[("lb", &["haproxy"]), ("node", &["hapraxy"])], &[debian]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "haproxy (asked for by profile 'lb') depends on 'lua': no archive has 'lua'\n       \
         profile 'node' names package 'hapraxy', which no archive has; similar: 'haproxy'"
    );
}

#[test]
fn pinned_packages_stay_and_others_move() {
    let old = suite("debian", "trixie", &[("aa", "1", "Depends: bb\n"), ("bb", "1", "")]);
    let new = suite(
        "debian",
        "trixie",
        &[("aa", "2", "Depends: bb, cc\n"), ("bb", "2", ""), ("cc", "1", "")],
    );
    let merged = choose::Suite {
        packages: [old.packages.clone(), new.packages.clone()].concat(),
        ..new.clone()
    };
    let roles = BTreeMap::from([("lb".to_owned(), role(&["aa"]))]);
    let pins_of_b = Pins::from([("bb".to_owned(), old.packages[1].sha256)]);
    let keep = BTreeMap::from([("lb".to_owned(), BTreeSet::from(["bb".to_owned()]))]);
    let repaired = choose::choose(&roles, &[merged], &pins_of_b, &keep).unwrap();
    assert_eq!(pins(&repaired), ["aa 2 debian: lb", "bb 1 debian: lb", "cc 1 debian: lb"]);
    let locked = choose(&[("lb", &["aa"])], &[old]).unwrap();
    assert_eq!(Changes::between(Some(&locked), &repaired).to_string(), "aa 1 -> 2\ncc 1 (added)\n");
}

#[test]
fn changes_are_told_by_name() {
    let debian = suite("debian", "trixie", &[("bash", "5.3", ""), ("new", "1", "")]);
    let new = choose(&[("lb", &["bash", "new"])], &[debian]).unwrap();
    let changes = Changes::between(Some(&lock()), &new);
    assert_eq!(
        changes.to_string(),
        "bash 5.2 -> 5.3\nhaproxy 3.0.1 (removed)\nlibc6 2.41 (removed)\nnew 1 (added)\n"
    );
    assert!(Changes::between(Some(&new), &new).is_empty());
    assert_eq!(Changes::between(None, &new).to_string(), "bash 5.3 (added)\nnew 1 (added)\n");
}

#[test]
fn locks_of_different_suites_are_one_lock() {
    let debian = suite("debian", "trixie", &[("bash", "5.2", "")]);
    let next = suite("debian", "forky", &[("bash", "5.3", "")]);
    let merged = choose::merge([
        choose(&[("lb", &["bash"])], &[debian]).unwrap(),
        choose(&[("node", &["bash"])], &[next]).unwrap(),
    ]);
    assert_eq!(pins(&merged), ["bash 5.2 debian: lb", "bash 5.3 debian: node"]);
    assert_eq!(Lock::parse(&merged.to_string()), Ok(merged));
}

#[test]
fn hostile_locks_are_refused() {
    let text = lock().to_string();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Lock::parse(&text.replacen(from, to, 1)).unwrap_err().to_string()
    };
    for (from, to, message) in [
        ("schema = 1", "schema = 2", "schema is 2, this kiln reads 1"),
        (
            "path = \"pool/main/bash",
            "path = \"../pool/main/bash",
            "package 'bash': path '../pool/main/bash_5.2_amd64.deb' leaves the archive",
        ),
        (
            "path = \"pool/main/bash",
            "path = \"/pool/main/bash",
            "package 'bash': path '/pool/main/bash_5.2_amd64.deb' leaves the archive",
        ),
        (
            "path = \"pool/main/bash",
            "path = \"pool/main/%2e%2e/bash",
            "package 'bash': path 'pool/main/%2e%2e/bash_5.2_amd64.deb' leaves the archive",
        ),
        (
            "name = \"bash\"",
            "name = \"ba\\u001bsh\"",
            "package 'ba\\u{1b}sh': name, version or architecture is not of Debian's form",
        ),
        (
            "archive = \"debian\"\npath",
            "archive = \"evil\"\npath",
            "package 'bash': archive 'evil' is not locked",
        ),
        ("size = 10", "size = 5000000000", "package 'bash': size 5000000000 is above 4294967296"),
        ("    \"lb\",\n", "    \"zz\",\n", "package 'bash': role 'zz' is not locked"),
    ] {
        assert_eq!(refused(from, to), message);
    }
    for (from, to, part) in [
        ("schema = 1", "schema = 1\nunknown = 2", "unknown field `unknown`"),
        ("2026-09-12T07:55:41Z", "2026-09-31T07:55:41Z", "is no date such as"),
        ("size = 10", "size = -10", "invalid value"),
        ("    \"haproxy\",\n", "    \"haproxyx\",\n", "role 'lb': what was asked for has digest"),
        ("name = \"libc6\"", "name = \"bash\"", "package 'bash' is pinned twice for role 'lb'"),
        ("name = \"libc6\"", "name = \"acl\"", "the packages are not in order at 'acl'"),
    ] {
        let found = refused(from, to);
        assert!(found.contains(part), "{found}");
    }
    let long = "#".repeat(MAX_SIZE + 1);
    assert_eq!(Lock::parse(&long), Err(Error::TooLarge { found: MAX_SIZE + 1 }));
    assert!(matches!(Lock::parse(""), Err(Error::Syntax { line: 1, .. })));
    assert!(matches!(Lock::parse(&"[".repeat(1 << 20)), Err(Error::Syntax { line: 1, .. })));
}

proptest::proptest! {
    #[test]
    fn a_changed_lock_never_panics(at in 0_usize..2000, byte: u8) {
        let mut text = lock().to_string().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(text) = String::from_utf8(text) {
            drop(Lock::parse(&text));
        }
    }
}

#[test]
fn a_stale_request_is_told_by_what_changed() {
    let locked = role(&["bash", "haproxy"]);
    let mut now = LockedRole::new(
        "amd64",
        ["debian trixie main", "debian-security trixie-security main"],
        &["bash", "nginx"],
    );
    now.omit.insert("perl-base".into());
    now.prefer.insert("awk".into(), "mawk".into());
    now.seal();
    let stale = request::compare(&locked, &now).unwrap_err();
    assert_eq!(
        stale.to_string(),
        format!(
            "suite 'debian-security trixie-security main' was added, package 'nginx' was added, \
             package 'haproxy' was removed, omission of 'perl-base' was added, \
             preference 'mawk for awk' was added (locked {}, now {})",
            locked.request.short(),
            now.request.short()
        )
    );
    assert_eq!(request::compare(&now, &now), Ok(()));
}

/// Two releases: one from a folder, one from a server in both its forms.
const RELEASES: &str = r#"
[kubernetes."v1.35.4".programs.kubelet]
size = 3
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

[kubernetes."v1.36.2".bundle]
size = 3
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
url = "https://dl.k8s.io/v1.36.2/kubernetes-server-linux-amd64.tar.gz"
published = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

[kubernetes."v1.36.2".programs.kube-apiserver]
size = 3
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
url = "https://dl.k8s.io/release/v1.36.2/bin/linux/amd64/kube-apiserver"
published = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"#;

fn with_releases() -> String {
    lock().to_string().replacen("\n[[packages]]", &format!("{RELEASES}\n[[packages]]"), 1)
}

#[test]
fn releases_are_read_and_written_as_they_stand() {
    let text = with_releases();
    let lock = Lock::parse(&text).unwrap();
    assert_eq!(lock.to_string(), text);
    assert_eq!(
        Changes::between(Some(&self::lock()), &lock).to_string(),
        "kube-apiserver v1.36.2 (added)\nkubelet v1.35.4 (added)\n"
    );
}

#[test]
fn hostile_releases_are_refused() {
    let text = with_releases();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Lock::parse(&text.replacen(from, to, 1)).unwrap_err().to_string()
    };
    for (from, to, message) in [
        (
            "programs.kubelet]",
            "programs.\"../kubelet\"]",
            "Kubernetes v1.35.4: '../kubelet' is no name of a program",
        ),
        (
            "size = 3",
            "size = 536870913",
            "Kubernetes v1.35.4: size 536870913 of 'kubelet' is above 536870912",
        ),
        (
            "url = \"https://dl.k8s.io/release",
            "url = \"file:///etc",
            "Kubernetes v1.36.2: the address of 'kube-apiserver' is none",
        ),
        (
            "published = \"sha256:ba",
            "published = \"sha256:bb",
            "Kubernetes v1.36.2: 'kube-apiserver' has two different SHA-256",
        ),
        (
            "published = \"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"",
            "",
            "Kubernetes v1.36.2: 'kube-apiserver' has an address without a checksum, or the other \
             way round",
        ),
    ] {
        assert_eq!(refused(from, to), message);
    }
    for (from, to, part) in [
        ("\"v1.35.4\"", "\"v1.37.4\"", "Kubernetes 1.37 is none that Kiln knows"),
        ("\"sha256:ba", "\"md5:ba", "a checksum is 'sha256:' and 64 hex digits"),
        ("sha256 = \"ba7816bf", "sha256 = \"ba7816b", "a SHA-256 digest is 64 hex digits"),
    ] {
        let found = refused(from, to);
        assert!(found.contains(part), "{found}");
    }
}
