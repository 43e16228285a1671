// SPDX-License-Identifier: Apache-2.0
//! Rules about the sources themselves: each rule we write down is a test.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files of the repository with one of `extensions`, as paths relative to its top.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> =
            fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable")).collect();
        entries.sort_by_key(fs::DirEntry::path);
        for entry in entries {
            let name = entry.file_name();
            if ["target", "out", "bin", ".git"].iter().any(|skipped| name == *skipped) {
                continue;
            }
            if entry.file_type().expect("readable").is_dir() {
                walk(&entry.path(), found);
            } else {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.retain(|path| {
        path.extension()
            .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
    });
    assert!(!found.is_empty(), "no file with {extensions:?}: the rule would check nothing");
    found
}

fn complain(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

#[test]
fn every_source_file_names_its_licence_first() {
    let offenders: Vec<String> = files(&["rs"])
        .iter()
        .filter(|path| {
            !fs::read_to_string(path)
                .expect("text")
                .starts_with("// SPDX-License-Identifier: Apache-2.0\n")
        })
        .map(|path| path.display().to_string())
        .collect();
    complain("a source file begins with its SPDX line", &offenders);
}

#[test]
fn source_files_stay_below_600_lines() {
    let offenders: Vec<String> = files(&["rs"])
        .iter()
        .map(|path| (path, fs::read_to_string(path).expect("text").lines().count()))
        .filter(|(_, lines)| *lines > 600)
        .map(|(path, lines)| format!("{} has {lines}", path.display()))
        .collect();
    complain("a file of more than 600 lines is two files", &offenders);
}

#[test]
fn nothing_is_left_for_later_in_the_sources() {
    // Spelled in halves so that this file does not complain about itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ig", "nore"),
        concat!("should_", "panic"),
    ];
    let mut offenders = Vec::new();
    for path in files(&["rs", "yaml", "md", "tera", "j2"]) {
        let text = fs::read_to_string(&path).expect("text");
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                offenders.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    complain("unfinished work is an issue, not a comment", &offenders);
}

/// Paths in backquotes that the documents name: `src/...`, `tests/...`, `profiles/...`.
#[test]
fn documents_name_files_that_exist() {
    let mut offenders = Vec::new();
    for path in files(&["md"]) {
        let text = fs::read_to_string(&path).expect("text");
        for named in text.split('`').skip(1).step_by(2) {
            let is_path = ["src/", "tests/", "profiles/", "overlays/", "docs/"]
                .iter()
                .any(|folder| named.starts_with(folder));
            let is_pattern = named.chars().any(|char| "*{}<> ".contains(char))
                || named.chars().any(|char| char.is_ascii_uppercase() && !named.ends_with(".md"));
            if is_path
                && !is_pattern
                && !root().join(named.split(':').next().expect("some")).exists()
            {
                offenders.push(format!("{}: `{named}`", path.display()));
            }
        }
    }
    complain("a document names a file that does not exist", &offenders);
}

/// Licences of everything that is linked, against the list in `deny.toml`.
#[test]
fn every_dependency_has_an_allowed_licence() {
    let deny: toml::Table =
        fs::read_to_string(root().join("deny.toml")).expect("deny.toml").parse().expect("TOML");
    let allowed: Vec<&str> = deny["licenses"]["allow"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|licence| licence.as_str().expect("a name"))
        .collect();
    let exceptions: Vec<(&str, &str)> = deny["licenses"]["exceptions"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|exception| {
            let name = exception["crate"].as_str().expect("a name");
            let licences = exception["allow"].as_array().expect("a list");
            licences.iter().map(move |licence| (name, licence.as_str().expect("a name")))
        })
        .collect();
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    let offenders: Vec<String> = packages
        .iter()
        .filter_map(|package| {
            let name = package["name"].as_str().expect("a name");
            let licence = package["license"].as_str().unwrap_or("none");
            let fine = |licence: &str| {
                let licence = licence.trim_matches(|char| "() ".contains(char));
                allowed.contains(&licence) || exceptions.contains(&(name, licence))
            };
            // SPDX: every part of an AND, one part of an OR; '/' is an old spelling of OR.
            let satisfied = licence
                .replace('/', " OR ")
                .split(" AND ")
                .all(|part| part.split(" OR ").any(fine));
            (!satisfied).then(|| format!("{name}: {licence}"))
        })
        .collect();
    complain("a dependency's licence is not in deny.toml", &offenders);
}
