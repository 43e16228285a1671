// SPDX-License-Identifier: Apache-2.0
//! Every example of `docs/how-to/metadata.md` works.
//!
//! An example begins with `<!-- example: SOURCE -->`. Behind it, a line `` `FILE`: `` and a fenced
//! block are one file of the folder that the source would deliver. It ends at the next heading or
//! example.

use std::fs;

use super::{preview, repository};

struct Example {
    source: String,
    line: usize,
    files: Vec<(String, Vec<u8>)>,
}

fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut name = None;
    let mut block: Option<(String, String)> = None;
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        if let Some((file, mut content)) = block.take() {
            if line.starts_with("```") {
                let example = examples.last_mut().expect("a file belongs to an example");
                example.files.push((file, content.into_bytes()));
            } else {
                content.push_str(line);
                content.push('\n');
                block = Some((file, content));
            }
            continue;
        }
        let source = line.strip_prefix("<!-- example: ").and_then(|it| it.strip_suffix(" -->"));
        if let Some(source) = source {
            examples.push(Example {
                source: source.to_owned(),
                line: index + 1,
                files: Vec::new(),
            });
            open = true;
        } else if line.starts_with('#') {
            open = false;
        } else if let Some(file) = line.strip_prefix('`').and_then(|it| it.strip_suffix("`:")) {
            name = open.then(|| file.to_owned());
        } else if line.starts_with("```")
            && let Some(file) = name.take()
        {
            block = Some((file, String::new()));
        }
    }
    examples
}

#[test]
fn every_example_of_the_guide_works() {
    let text = fs::read_to_string(repository().join("docs/how-to/metadata.md")).unwrap();
    let examples = examples(&text);
    for source in ["nocloud", "config-drive", "guestinfo", "ovf", "cmdline", "http"] {
        assert!(examples.iter().any(|it| it.source == source), "no example of {source}");
    }
    for example in examples {
        let place = format!("docs/how-to/metadata.md:{}", example.line);
        assert!(!example.files.is_empty(), "{place}: no file");
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("out");
        let output = preview(&example.source, &example.files, &out);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{place}: {errors}");
        assert_eq!(errors, "", "{place}");
        assert_eq!(fs::read_to_string(out.join("etc/hostname")).unwrap(), "node-7\n", "{place}");
    }
}
