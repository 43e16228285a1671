// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;
use serde_json::json;

use super::{Value, fields::any, parse};
use crate::diagnostic::{Problems, Source};

fn complaints(text: &str) -> String {
    let problems = Problems::new();
    let _ = parse(&Source::new("t.yaml", text), &problems);
    problems.finish(Some(())).map_or_else(|invalid| invalid.to_string(), |()| String::new())
}

fn value(text: &str) -> serde_json::Value {
    let problems = Problems::new();
    let node = parse(&Source::new("t.yaml", text), &problems);
    let value = any(&node.expect("it is YAML"), &problems);
    assert!(problems.is_empty(), "{text}");
    value.expect("every tree is a value")
}

#[test]
fn scalars_are_what_they_look_like_in_json_and_text_otherwise() {
    for (text, expected) in [
        ("1", json!(1)),
        ("-1.5", json!(-1.5)),
        ("true", json!(true)),
        ("null", json!(null)),
        ("~", json!(null)),
        ("'1'", json!("1")),
        ("\"true\"", json!("true")),
        ("0644", json!("0644")),
        ("0x10", json!("0x10")),
        ("1_000", json!("1_000")),
        ("yes", json!("yes")),
        ("No", json!("No")),
        ("1.10", json!(1.10)),
        ("12:30", json!("12:30")),
        ("|\n    a\n    b\n", json!("a\nb\n")),
        ("''", json!("")),
    ] {
        assert_eq!(value(&format!("key: {text}\n")), json!({ "key": expected }), "{text}");
    }
    assert_eq!(value("a:\nb: 1\n"), json!({ "a": null, "b": 1 }));
}

#[test]
fn every_node_knows_its_place() {
    let source = Source::new("t.yaml", "é: [one, 'two']\nmap:\n  key: value\n");
    let node = parse(&source, &Problems::new()).unwrap();
    let text = |span: &crate::diagnostic::Span| source.text[span.range.clone()].to_owned();
    assert_eq!(text(node.item(&["é"], 1)), "'two'");
    assert_eq!(text(node.place(&["map", "key"])), "value");
    assert_eq!(text(node.place(&["map", "other"])), "key: value");
    let Value::Map(entries) = &node.value else { panic!("a map") };
    assert_eq!(text(&entries[0].0.span), "é");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing() {
    let plain = value("a: 1\nb: [x, y]\nc: |\n  t\n");
    assert_eq!(value("\u{feff}a: 1\nb: [x, y]\nc: |\n  t\n"), plain);
    assert_eq!(value("a: 1\r\nb: [x, y]\r\nc: |\r\n  t\r\n"), plain);
    let with_mark = complaints("\u{feff}a: 1\na: 2\n");
    assert!(with_mark.contains("t.yaml:2:1"), "{with_mark}");
}

#[test]
fn hostile_files_are_refused_before_they_cost_anything() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, last) in ('b'..='z').zip('a'..) {
        bomb += &format!("{name}: &{name} [*{last}, *{last}, *{last}, *{last}, *{last}]\n");
    }
    assert!(complaints(&bomb).contains("aliases are not used here"));
    for (text, message) in [
        ("[".repeat(100_000), "values are nested deeper than 32"),
        ("- ".repeat(100_000), "values are nested deeper than 32"),
        (format!("a: [{}]", "x, ".repeat(300_000)), "more than 200000 values in one file"),
        ("a".repeat(3 << 20), "'t.yaml' is larger than 2 MiB"),
        ("a: \0".to_owned(), "this is no YAML"),
    ] {
        let found = complaints(&text);
        assert!(found.contains(message), "{}", &found[..found.len().min(500)]);
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-c:\\-\\[\\]{},&*!|>'\"#%@~? \\t\\r\\n\u{feff}é]{0,60}") {
        let _ = complaints(&text);
    }

    #[test]
    fn values_survive_json_as_yaml(text in "\\PC{0,20}", number: i32, list in prop::collection::vec("[a-z]{1,5}", 0..4)) {
        let expected = json!({ "text": text, "number": number, "list": list });
        prop_assert_eq!(value(&expected.to_string()), expected);
    }
}
