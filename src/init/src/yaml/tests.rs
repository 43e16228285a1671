// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn json_of(text: &str) -> serde_json::Value {
    parse(text.as_bytes()).unwrap().unwrap().to_json()
}

fn refusal(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn plain_scalars_have_the_types_their_writers_meant() {
    let document = "
a: yes
b: 'yes'
c: 0644
d: 0x1f
e: 11:22:33:44:55:56
f: 1.5
g: ~
h: -3
i: 'no'
j: 1e3
k: .nan
l: y
m: 08
n: 1_000
";
    assert_eq!(
        json_of(document),
        json!({
            "a": true, "b": "yes", "c": 420, "d": 31, "e": "11:22:33:44:55:56", "f": 1.5, "g": null,
            "h": -3, "i": "no", "j": "1e3", "k": ".nan", "l": "y", "m": "08", "n": "1_000",
        })
    );
}

#[test]
fn json_is_yaml_and_a_byte_order_mark_is_accepted() {
    assert_eq!(json_of("{\"a\": [1, {\"b\": null}]}"), json!({"a": [1, {"b": null}]}));
    assert_eq!(json_of("\u{feff}a: 1"), json!({"a": 1}));
    assert_eq!(json_of("x: &x {a: 1}\ny: *x\n"), json!({"x": {"a": 1}, "y": {"a": 1}}));
}

#[test]
fn an_empty_document_is_nothing() {
    for text in ["", "\n", "# only a comment\n", "---\n", "~"] {
        assert_eq!(parse(text.as_bytes()).unwrap(), None, "{text:?}");
    }
}

#[test]
fn bombs_and_broken_documents_are_refused() {
    let deep_flow = "[".repeat(100_000);
    let deep_block: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let many: String = (0..20_000).map(|i| format!("k{i}: 1\n")).collect();
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..10 {
        let aliases = vec![format!("*a{}", i - 1); 10].join(",");
        bomb.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
    }
    for (text, expected) in [
        (&*deep_flow, "recursion limit exceeded"),
        (&deep_block, "recursion limit exceeded"),
        (&many, "more than 10000 values"),
        (&bomb, "more than 10000 values"),
        ("a: &a [*a]", "1: an alias refers to something that contains it"),
        ("a: 1\nb: 2\na: 3", "3: key 'a' is already in line 1"),
        ("a: {{ x }}", "1: a key is a map or a list; was a '{{ … }}' left where a value belongs?"),
        ("x: &x {a: 1}\ny: {<<: *x}", "2: merge keys ('<<') are not supported"),
        ("a: 1\n---\nb: 2", "2: expected one document, found another '---'"),
        ("a: 'open", "1"),
        ("a:\n\tb: 1", "tab"),
        ("a\0b", "found a NUL byte at offset 1"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(expected), "{refusal}");
    }
}

#[test]
fn other_encodings_are_named() {
    let refuse = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
    assert_eq!(refuse(b"\xff\xfea\0"), "expected UTF-8, found UTF-16");
    assert_eq!(refuse(b"a: \xe4"), "expected UTF-8, found another byte at offset 3");
    assert_eq!(refuse(&vec![b'a'; DOCUMENT_MAX + 1]), "larger than 1048576 bytes");
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    let node = parse(b"e:\n  adresses: []\n").unwrap().unwrap();
    let (_, e) = At::root(&node).entries().unwrap().remove(0);
    assert_eq!(
        e.fields(&["addresses", "mtu"]).unwrap_err().to_string(),
        "2: e: unknown key 'adresses'; did you mean 'addresses'?"
    );
    assert_eq!(
        e.fields(&["dhcp4", "mtu"]).unwrap_err().to_string(),
        "2: e: unknown key 'adresses'; expected one of: dhcp4, mtu"
    );
}

#[test]
fn expectations_name_what_was_found() {
    let node = parse(b"a: maybe\nb: [1]\nc: 70000\nd: \"x\\ny\"\ne: ''\nf:\n").unwrap().unwrap();
    let fields = At::root(&node).fields(&["a", "b", "c", "d", "e", "f"]).unwrap();
    let at = |key: &str| fields.get(key).unwrap();
    assert_eq!(
        at("a").boolean().unwrap_err().to_string(),
        "1: a: expected true or false, found 'maybe'"
    );
    assert_eq!(
        at("b").text("a name").unwrap_err().to_string(),
        "2: b: expected a name, found a list"
    );
    assert_eq!(
        at("c").integer(1..=65535).unwrap_err().to_string(),
        "3: c: expected a number from 1 to 65535, found '70000'"
    );
    assert_eq!(
        at("d").text("a name").unwrap_err().to_string(),
        "4: d: expected a name, found the control character '\\n'"
    );
    assert_eq!(at("e").text("a name"), Ok(""));
    assert!(fields.get("f").is_none());
    assert!(at("c").string("a name").is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes).map(|node| node.map(|node| node.to_json()));
    }

    #[test]
    fn any_yaml_like_text_is_parsed_or_refused(text in "[-a-c:#&*!|>'\"{}\\[\\], \n\t0-9?%@]{0,200}") {
        let _ = parse(text.as_bytes()).map(|node| node.map(|node| node.to_json()));
    }
}
