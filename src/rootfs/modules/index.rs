// SPDX-License-Identifier: Apache-2.0
//! kmod's binary index: a trie from strings to values, as `modules.*.bin` hold it.
//!
//! Format version 2.1 of libkmod-index.c: big-endian; a header of magic, version and the root's
//! offset; children come before their parents; the top bits of a node's offset say what the node
//! has. Each node stores the part of the key that all keys below it share, and a table of
//! children from its first to its last character, absent ones as 0.

use std::collections::BTreeMap;

/// Identifies the file.
const MAGIC: u32 = 0xb007_f457;
/// Major and minor version.
const VERSION: u32 = 0x0002_0001;
/// Flags in a node's offset.
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;

/// An index before it is bytes.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<Vec<u8>, Vec<(u32, String)>>,
}

impl Index {
    /// Adds a value. Values of one key are ordered by priority; of equal ones the newest is first.
    pub(super) fn insert(&mut self, key: &str, value: impl Into<String>, priority: u32) {
        // The format has room for ASCII only.
        if !key.is_ascii() {
            return;
        }
        let values = self.entries.entry(key.as_bytes().to_vec()).or_default();
        let place = values.partition_point(|(other, _)| *other < priority);
        values.insert(place, (priority, value.into()));
    }

    /// The index file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC.to_be_bytes());
        out.extend(VERSION.to_be_bytes());
        out.extend([0; 4]);
        let entries: Vec<Entry<'_>> =
            self.entries.iter().map(|(key, values)| (&key[..], &values[..])).collect();
        // The root never has a prefix, even if all keys begin alike.
        let root = encode_node(&entries, 0, 0, &mut out);
        out[8..12].copy_from_slice(&root.to_be_bytes());
        out
    }
}

type Entry<'a> = (&'a [u8], &'a [(u32, String)]);

/// Writes the node of `entries`, which share their first `end` bytes; the node's prefix is
/// `start..end`. Returns the node's offset with its flags.
fn encode_node(entries: &[Entry<'_>], start: usize, end: usize, out: &mut Vec<u8>) -> u32 {
    let values = entries.first().filter(|(key, _)| key.len() == end).map(|(_, values)| *values);
    let below = &entries[usize::from(values.is_some())..];
    let mut children: BTreeMap<u8, u32> = BTreeMap::new();
    for group in below.chunk_by(|(a, _), (b, _)| a[end] == b[end]) {
        let shared = shared_prefix(group, end + 1);
        children.insert(group[0].0[end], encode_node(group, end + 1, shared, out));
    }
    let mut offset = u32::try_from(out.len()).expect("an index is far smaller than 512 MiB");
    if start < end {
        out.extend(&entries[0].0[start..end]);
        out.push(0);
        offset |= HAS_PREFIX;
    }
    if let (Some((first, _)), Some((last, _))) =
        (children.first_key_value(), children.last_key_value())
    {
        out.extend([*first, *last]);
        for character in *first..=*last {
            out.extend(children.get(&character).copied().unwrap_or(0).to_be_bytes());
        }
        offset |= HAS_CHILDREN;
    }
    if let Some(values) = values {
        let count = u32::try_from(values.len()).expect("values are fewer than modules");
        out.extend(count.to_be_bytes());
        for (priority, value) in values {
            out.extend(priority.to_be_bytes());
            out.extend(value.as_bytes());
            out.push(0);
        }
        offset |= HAS_VALUES;
    }
    offset
}

/// Length of the prefix that all keys of a sorted, non-empty group share, at least `from`.
fn shared_prefix(group: &[Entry<'_>], from: usize) -> usize {
    let (first, last) = (group[0].0, group[group.len() - 1].0);
    from + first[from..].iter().zip(&last[from..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_index_is_a_header() {
        let bytes = Index::default().encode();
        assert_eq!(bytes, [0xb0, 7, 0xf4, 0x57, 0, 2, 0, 1, 0, 0, 0, 12]);
    }

    #[test]
    fn a_node_stores_what_its_keys_share_and_the_rest_below() {
        let mut index = Index::default();
        index.insert("abc", "one", 1);
        index.insert("abd", "two", 2);
        let mut expected = vec![0xb0, 7, 0xf4, 0x57, 0, 2, 0, 1, 0x20, 0, 0, 60];
        // Children "abc" and "abd": no prefix, one value each.
        expected.extend(b"\0\0\0\x01\0\0\0\x01one\0");
        expected.extend(b"\0\0\0\x01\0\0\0\x02two\0");
        // Node 'a' with prefix "b" and children 'c' and 'd'.
        expected.extend(b"b\0cd");
        expected.extend([0x40, 0, 0, 12, 0x40, 0, 0, 24]);
        // The root's table is the single character 'a'.
        let root = expected.len() as u32;
        expected.extend(b"aa");
        expected.extend([0xa0, 0, 0, 36]);
        expected[8..12].copy_from_slice(&(root | HAS_CHILDREN).to_be_bytes());
        assert_eq!(index.encode(), expected);
    }

    #[test]
    fn values_are_ordered_by_priority_and_the_newest_of_equals_is_first() {
        let mut index = Index::default();
        for (value, priority) in [("c", 2), ("a", 1), ("b", 2)] {
            index.insert("key", value, priority);
        }
        let values: Vec<&str> =
            index.entries[&b"key"[..]].iter().map(|(_, value)| &**value).collect();
        assert_eq!(values, ["a", "b", "c"]);
        index.insert("schlüssel", "x", 0);
        assert_eq!(index.entries.len(), 1);
    }
}
