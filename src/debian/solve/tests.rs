// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::debian::index;

/// Packages from stanzas of the fields that matter for a solution; `Version` is 1 if absent.
pub(super) fn packages(stanzas: &str) -> Vec<Package> {
    let digest = crate::digest::Digest::of(b"");
    let stanzas = stanzas.trim().split("\n\n").map(|stanza| {
        let version = if stanza.contains("Version:") { "" } else { "Version: 1\n" };
        format!(
            "{}\n{version}Architecture: amd64\nFilename: a.deb\nSize: 1\nSHA256: {digest}\n\n",
            stanza.trim()
        )
    });
    index::parse(stanzas.collect::<String>().as_bytes(), "amd64").expect("valid")
}

fn universe(stanzas: &str) -> Universe {
    Universe::new("amd64", [("debian".to_owned(), packages(stanzas))]).expect("valid")
}

pub(super) fn request(names: &[&str]) -> Request {
    let install = names.iter().map(|name| (name.to_string(), "profile 'lb'".to_owned()));
    Request { install: install.collect(), ..Request::default() }
}

fn names(solution: &Solution) -> Vec<&str> {
    solution.packages().map(|candidate| candidate.package.name.as_str()).collect()
}

fn solved(stanzas: &str, asked: &[&str]) -> Vec<String> {
    let solution = solve(&universe(stanzas), &request(asked)).expect("has a solution");
    names(&solution).into_iter().map(str::to_owned).collect()
}

fn refused(stanzas: &str, asked: &[&str]) -> String {
    solve(&universe(stanzas), &request(asked)).expect_err("has no solution").to_string()
}

#[test]
fn dependencies_are_followed_and_explained() {
    let universe = universe(
        "Package: haproxy\nDepends: libssl\nPre-Depends: base\n\n\
         Package: libssl\nDepends: libc\n\n\
         Package: libc\n\n\
         Package: base\nDepends: libc\n\n\
         Package: other\n",
    );
    let solution = solve(&universe, &request(&["haproxy"])).expect("has a solution");
    assert_eq!(names(&solution), ["base", "haproxy", "libc", "libssl"]);
    assert_eq!(
        solution.explain("libc").as_deref(),
        Some("haproxy (asked for by profile 'lb') -> base -> libc")
    );
    assert_eq!(solution.explain("other"), None);
    assert_eq!(solution.why("base"), Some(&Why::Needed { by: "haproxy".into() }));
}

#[test]
fn circles_end() {
    let stanzas = "Package: aa\nDepends: bb\n\nPackage: bb\nDepends: aa, bb";
    assert_eq!(solved(stanzas, &["aa"]), ["aa", "bb"]);
}

#[test]
fn the_first_alternative_that_can_be_met_is_taken() {
    let stanzas = "Package: aa\nDepends: none | old (>= 2) | bb | cc\n\n\
                   Package: old\n\nPackage: bb\n\nPackage: cc";
    assert_eq!(solved(stanzas, &["aa"]), ["aa", "bb"]);
}

#[test]
fn what_is_chosen_already_meets_a_group() {
    let stanzas = "Package: aa\nDepends: bb | cc\n\nPackage: bb\n\nPackage: cc\n\n\
                   Package: dd\nDepends: mail\n\nPackage: ee\nProvides: mail\n\n\
                   Package: ff\nProvides: mail";
    assert_eq!(solved(stanzas, &["aa", "cc"]), ["aa", "cc"]);
    assert_eq!(solved(stanzas, &["dd", "ff"]), ["dd", "ff"]);
}

#[test]
fn a_real_package_comes_before_one_that_provides_its_name() {
    let stanzas = "Package: aa\nDepends: bb\n\nPackage: ab\nProvides: bb\n\nPackage: bb";
    assert_eq!(solved(stanzas, &["aa"]), ["aa", "bb"]);
}

#[test]
fn a_provider_replaces_a_real_package_of_the_wrong_version() {
    let stanzas = "Package: aa\nDepends: bb (>= 3)\n\nPackage: bb\nVersion: 2\n\n\
                   Package: cc\nProvides: bb (= 3.1), bb-dev";
    assert_eq!(solved(stanzas, &["aa"]), ["aa", "cc"]);
}

#[test]
fn providers_are_ordered_by_preference_then_priority_then_name() {
    let stanzas = "Package: aa\nDepends: awk\n\n\
                   Package: gawk\nProvides: awk\nPriority: optional\n\n\
                   Package: mawk\nProvides: awk\nPriority: required\n\n\
                   Package: bawk\nProvides: awk\nPriority: optional";
    assert_eq!(solved(stanzas, &["aa"]), ["aa", "mawk"]);
    assert_eq!(solved(&stanzas.replace("required", "optional"), &["aa"]), ["aa", "bawk"]);
    let mut wish = request(&["aa"]);
    wish.prefer.insert("awk".into(), "gawk".into());
    assert_eq!(names(&solve(&universe(stanzas), &wish).expect("solution")), ["aa", "gawk"]);
}

#[test]
fn a_preference_also_picks_a_later_alternative() {
    let stanzas = "Package: aa\nDepends: bb | cc\n\nPackage: bb\n\nPackage: cc";
    let mut wish = request(&["aa"]);
    wish.prefer.insert("cc".into(), "cc".into());
    assert_eq!(names(&solve(&universe(stanzas), &wish).expect("solution")), ["aa", "cc"]);
}

#[test]
fn provides_without_version_meet_no_relation_with_one() {
    let stanzas = "Package: aa\nDepends: virtual (>= 1)\n\nPackage: bb\nProvides: virtual";
    assert_eq!(
        refused(stanzas, &["aa"]),
        "aa (asked for by profile 'lb') depends on 'virtual (>= 1)': \
         no package provides 'virtual' in such a version"
    );
}

#[test]
fn any_is_met_only_by_packages_that_allow_it() {
    let stanzas = "Package: aa\nDepends: python3:any\n\nPackage: python3\nMulti-Arch: allowed";
    assert_eq!(solved(stanzas, &["aa"]), ["aa", "python3"]);
    assert!(refused(&stanzas.replace("allowed", "same"), &["aa"]).contains("python3:any"));
    assert_eq!(solved(&stanzas.replace(":any", ":amd64"), &["aa"]), ["aa", "python3"]);
    assert!(refused(&stanzas.replace(":any", ":i386"), &["aa"]).contains("python3:i386"));
}

#[test]
fn omitted_packages_count_as_installed_and_are_reported() {
    let stanzas = "Package: aa\nDepends: perl:any (>= 5), awk, perl | cc\n\n\
                   Package: bb\nDepends: cc | debconf\n\nPackage: cc\n\nPackage: debconf\n\n\
                   Package: perl\n\nPackage: mawk\nProvides: awk";
    let mut wish = request(&["aa", "bb"]);
    wish.omit = ["perl", "mawk", "debconf"].map(str::to_owned).into();
    let solution = solve(&universe(stanzas), &wish).expect("has a solution");
    assert_eq!(names(&solution), ["aa", "bb"]);
    let users = |name: &str| solution.omitted()[name].iter().cloned().collect::<Vec<_>>();
    assert_eq!(users("perl"), ["aa"]);
    assert_eq!(users("mawk"), ["aa"]);
    assert_eq!(users("debconf"), ["bb"]);
}

#[test]
fn the_newest_version_of_all_archives_wins() {
    let archives = [
        ("debian".to_owned(), packages("Package: aa\nVersion: 1-1\n\nPackage: bb\nVersion: 3")),
        (
            "debian-security".to_owned(),
            packages("Package: aa\nVersion: 1-1+deb13u1\n\nPackage: bb\nVersion: 2"),
        ),
        ("later".to_owned(), packages("Package: bb\nVersion: 3")),
    ];
    let universe = Universe::new("amd64", archives).expect("valid");
    let found = |name: &str| {
        let candidate = universe.get(name).expect("there");
        (candidate.package.version.to_string(), candidate.archive.to_string())
    };
    assert_eq!(found("aa"), ("1-1+deb13u1".into(), "debian-security".into()));
    assert_eq!(found("bb"), ("3".into(), "debian".into()));
}

#[test]
fn unknown_names_are_refused_with_similar_ones() {
    let stanzas = "Package: haproxy\n\nPackage: keepalived";
    assert_eq!(
        refused(stanzas, &["hapoxy"]),
        "profile 'lb' names package 'hapoxy', which no archive has; similar: 'haproxy'"
    );
    assert_eq!(refused(stanzas, &["zz"]), "profile 'lb' names package 'zz', which no archive has");
    let mut wish = request(&["haproxy"]);
    wish.omit.insert("keepalivd".into());
    let Unsolvable(problems) = solve(&universe(stanzas), &wish).expect_err("misspelled");
    assert!(
        matches!(&problems[..], [Problem::Unknown { similar, .. }] if similar == &["keepalived"])
    );
    let mut wish = request(&["haproxy"]);
    wish.omit.insert("haproxy".into());
    let Unsolvable(problems) = solve(&universe(stanzas), &wish).expect_err("contradiction");
    assert!(matches!(&problems[..], [Problem::AskedAndOmitted { .. }]));
}

#[test]
fn all_unmet_dependencies_are_told_with_their_chains() {
    let stanzas = "Package: aa\nDepends: bb, missing | gone\n\n\
                   Package: bb\nDepends: libc (>= 3)\n\nPackage: libc\nVersion: 2.41";
    assert_eq!(
        refused(stanzas, &["aa"]),
        "aa (asked for by profile 'lb') depends on 'missing | gone': \
         no archive has 'missing'; no archive has 'gone'\n       \
         aa (asked for by profile 'lb') -> bb depends on 'libc (>= 3)': \
         the newest 'libc' is 2.41 (debian)"
    );
}

#[test]
fn packages_that_exclude_each_other_are_refused_with_both_chains() {
    let stanzas = "Package: aa\nDepends: bb\n\nPackage: bb\nConflicts: mail\n\n\
                   Package: cc\nDepends: exim\n\nPackage: exim\nProvides: mail";
    assert_eq!(
        refused(stanzas, &["aa", "cc"]),
        "aa (asked for by profile 'lb') -> bb conflicts with 'mail', which is met by \
         cc (asked for by profile 'lb') -> exim"
    );
    let breaks = "Package: aa\nBreaks: bb:any (<< 2)\n\nPackage: bb";
    assert!(refused(breaks, &["aa", "bb"]).contains("breaks 'bb (<< 2)'"));
    assert_eq!(solved(&breaks.replace("<< 2", "<< 1"), &["aa", "bb"]), ["aa", "bb"]);
}

#[test]
fn a_package_does_not_conflict_with_what_it_provides() {
    let stanzas = "Package: mawk\nProvides: awk\nConflicts: awk\nReplaces: awk";
    assert_eq!(solved(stanzas, &["mawk"]), ["mawk"]);
    // A name that is only provided can be asked for.
    assert_eq!(solved(stanzas, &["awk"]), ["mawk"]);
}

#[test]
fn a_malformed_field_matters_only_where_it_is_used() {
    let stanzas = "Package: aa\n\nPackage: bb\nDepends: aa (1)";
    assert_eq!(solved(stanzas, &["aa"]), ["aa"]);
    assert!(refused(stanzas, &["bb"]).starts_with("field 'Depends' of package 'bb': "));
    assert!(
        Universe::new("amd64", [("debian".to_owned(), packages("Package: aa\nProvides: b c"))])
            .is_err()
    );
}

#[test]
fn a_long_chain_needs_no_deep_stack() {
    let stanzas: String =
        (0..20_000).map(|i| format!("Package: p{i}\nDepends: p{}\n\n", (i + 1) % 20_000)).collect();
    let universe = universe(&stanzas);
    let solution = solve(&universe, &request(&["p0"])).expect("has a solution");
    assert_eq!(solution.packages().count(), 20_000);
    assert!(solution.explain("p19999").expect("there").ends_with("p19998 -> p19999"));
}

proptest! {
    /// In a universe of ten packages with random relations, a solution is closed: every group
    /// of every package is met by a package of it, and everything in it has a reason.
    #[test]
    fn solutions_are_closed(
        edges in prop::collection::vec((0..10_u8, 0..10_u8, 0..10_u8), 0..25),
        asked in 0..10_u8,
    ) {
        let stanzas: String = (0..10_u8)
            .map(|i| {
                let groups = edges.iter().filter(|edge| edge.0 == i);
                let groups: Vec<String> =
                    groups.map(|(_, a, b)| format!("p{a} | v{b}")).collect();
                format!("Package: p{i}\nProvides: v{}\nDepends: {}\n\n", i / 3, groups.join(", "))
            })
            .collect();
        let universe = universe(&stanzas);
        let name = format!("p{asked}");
        let solution = solve(&universe, &request(&[name.as_str()])).expect("every p exists");
        for candidate in solution.packages() {
            let package = &candidate.package;
            for group in dependency::groups(&package.depends).expect("valid") {
                let met = group.0.iter().flat_map(|relation| universe.matching(relation));
                prop_assert!(met.into_iter().any(|other| solution.get(&other.name).is_some()));
            }
            prop_assert!(solution.explain(&package.name).expect("a reason").starts_with(&name));
        }
    }
}
