// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::tree::{Inode, Kind, Meta, Origin, TreePath};

fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}

fn program(path: &str, bytes: &[u8]) -> Program {
    Program {
        path: TreePath::new(path).unwrap(),
        content: Content::bytes(bytes),
        certificates: None,
        user: (0, 0),
        epoch: 0,
    }
}

fn tree(entries: &[(&str, &[u8])]) -> Tree {
    let mut tree = Tree::new(0);
    for (path, bytes) in entries {
        let kind = Kind::File(Content::bytes(*bytes));
        let inode = Inode { meta: Meta::new(0o644, 0), kind, origin: Origin::Kiln("test") };
        tree.insert(TreePath::new(path).unwrap(), inode).unwrap();
    }
    tree
}

#[test]
fn a_programs_image_is_dumped_as_it_was_made() {
    let mut program = program("/usr/local/bin/hello", b"not really a program");
    program.certificates = Some(Content::bytes(b"-----".as_slice()));
    program.user = (65534, 65534);
    program.epoch = 1_700_000_000;
    let image = program.image(name("kiln.test/hello:1")).unwrap();
    let found = read(&archive(&[image]).unwrap()).unwrap();
    let dump: String = found.iter().map(ToString::to_string).collect();
    assert_eq!(dump, include_str!("golden.txt"));
}

#[test]
fn the_table_of_contents_has_both_names_and_the_platform() {
    let image = program("/pause", b"x").image(name("kiln.test/pause:1")).unwrap();
    let archive = archive(&[image]).unwrap().to_vec().unwrap();
    let text = String::from_utf8_lossy(&archive);
    let after = |mark: &str| text.split(mark).nth(1).unwrap().to_owned();
    assert!(text.contains(r#"{"imageLayoutVersion":"1.0.0"}"#));
    let index = after(
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":["#,
    );
    let expected = r#","platform":{"architecture":"amd64","os":"linux"},"annotations":{"io.containerd.image.name":"kiln.test/pause:1","org.opencontainers.image.ref.name":"kiln.test/pause:1"}}]}"#;
    assert!(index.contains(expected), "{index}");
}

#[test]
fn the_same_images_give_the_same_bytes_in_any_order() {
    let image = |path: &str, of: &str| program(path, of.as_bytes()).image(name(of)).unwrap();
    let make = |reverse: bool| {
        let mut images = [image("/a", "kiln.test/a:1"), image("/b", "kiln.test/b:1")];
        if reverse {
            images.reverse();
        }
        archive(&images).unwrap().to_vec().unwrap()
    };
    assert_eq!(make(false), make(false));
    assert_eq!(make(false), make(true));
}

#[test]
fn images_share_their_layers() {
    let layer = Layer::plain(&tree(&[("/x", &[7; 5000])])).unwrap();
    let image = |text: &str, program: &str| {
        let config = Config::new(&TreePath::new(program).unwrap());
        Image::new(name(text), config, vec![layer.clone()]).unwrap()
    };
    let one = archive(&[image("a.b/a:1", "/x")]).unwrap();
    let two = archive(&[image("a.b/a:1", "/x"), image("a.b/b:1", "/y")]).unwrap();
    assert_eq!(read(&two).unwrap().len(), 2);
    assert!(two.len() < one.len() + 4096, "{} and {}", one.len(), two.len());
}

#[test]
fn a_compressed_layer_is_the_same_layer() {
    let tree = tree(&[("/x", &[7; 100_000])]);
    let image = |layer: Layer| {
        let config = Config::new(&TreePath::literal("/x"));
        let archive =
            archive(&[Image::new(name("a.b/c:1"), config, vec![layer]).unwrap()]).unwrap();
        read(&archive).unwrap().remove(0)
    };
    let plain = image(Layer::plain(&tree).unwrap());
    let compressed = image(Layer::compressed(&tree, 3).unwrap());
    assert_eq!(plain.config, compressed.config);
    assert_eq!(plain.layers[0].0, compressed.layers[0].0);
    assert!(compressed.layers[0].1.len() < 1000);
}

#[test]
fn a_configuration_holds_what_was_asked_for() {
    let config = Config::new(&TreePath::literal("/a"))
        .fixed_argument("--b=\"c\"")
        .unwrap()
        .argument("d e")
        .unwrap()
        .variable("PATH", "/bin")
        .unwrap()
        .variable("A", "ü\n")
        .unwrap()
        .user(1, 2)
        .folder(TreePath::literal("/var"));
    let layer = Layer::plain(&tree(&[])).unwrap();
    let image = Image::new(name("a.b/c:1"), config, vec![layer.clone(), layer]).unwrap();
    let found = read(&archive(&[image]).unwrap()).unwrap().remove(0);
    let value: serde_json::Value = serde_json::from_str(&found.config).unwrap();
    let expected = serde_json::json!({
        "User": "1:2",
        "Env": ["A=ü\n", "PATH=/bin"],
        "Entrypoint": ["/a", "--b=\"c\""],
        "Cmd": ["d e"],
        "WorkingDir": "/var",
    });
    assert_eq!(value["config"], expected);
    assert_eq!(value["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
}

#[test]
fn what_no_image_can_be_is_refused() {
    let config = || Config::new(&TreePath::literal("/x"));
    let layer = Layer::plain(&tree(&[])).unwrap();
    let many = vec![layer.clone(); LAYERS_MAX + 1];
    assert!(Image::new(name("a.b/c:1"), config(), Vec::new()).is_err());
    assert!(Image::new(name("a.b/c:1"), config(), many).is_err());
    assert!(matches!(archive(&[]), Err(Error::NoImage)));
    let image = Image::new(name("a.b/c:1"), config(), vec![layer]).unwrap();
    assert!(matches!(archive(&[image.clone(), image]), Err(Error::SameName { .. })));
    assert!(config().variable("", "x").is_err());
    assert!(config().variable("A=B", "x").is_err());
    assert!(config().variable("A", "\0").is_err());
    assert!(config().argument("a\0b").is_err());
    for path in ["/tmp", "/etc", "/etc/passwd", "/etc/passwd/x", "/"] {
        let error = program(path, b"x").image(name("a.b/c:1")).unwrap_err();
        assert!(matches!(error, Error::Place { .. }), "{path}: {error}");
    }
}

#[test]
fn a_name_that_means_deletion_is_refused() {
    for (path, hidden) in [("/.wh.passwd", "passwd"), ("/.wh..wh..opq", ".wh..opq")] {
        let error = Layer::plain(&tree(&[(path, b"")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "'{path}' would delete '{hidden}' of a lower layer: names with '.wh.' mean that"
            )
        );
    }
}

/// An archive of one image with a compressed layer, so that all of the reader is reached.
fn sample() -> Vec<u8> {
    let layer = Layer::compressed(&tree(&[("/x", b"some bytes")]), 3).unwrap();
    let config = Config::new(&TreePath::literal("/x"));
    let image = Image::new(name("a.b/c:1"), config, vec![layer]).unwrap();
    archive(&[image]).unwrap().to_vec().unwrap()
}

#[test]
fn a_changed_blob_is_refused() {
    let bytes = sample();
    let find =
        |needle: &[u8]| bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    for needle in [b"\"rootfs\"".as_slice(), b"\"layers\":[", &[0x28, 0xb5, 0x2f, 0xfd]] {
        let mut bytes = bytes.clone();
        bytes[find(needle) + 1] ^= 1;
        let error = read(&Content::bytes(bytes)).unwrap_err();
        assert!(matches!(error, Error::Digest { .. }), "{error}");
    }
}

#[test]
fn a_cut_archive_is_refused_at_every_length() {
    let bytes = sample();
    let end = bytes.len() - 1024;
    for len in (0..end).step_by(37).chain([end]) {
        assert!(read(&Content::bytes(&bytes[..len])).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(at in 0_usize..10_000, value: u8) {
        let mut bytes = sample();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        let _ = read(&Content::bytes(bytes));
    }

    #[test]
    fn any_file_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..3000), level in 1..10) {
        let tree = tree(&[("/x", &bytes)]);
        for layer in [Layer::plain(&tree).unwrap(), Layer::compressed(&tree, level).unwrap()] {
            let expected = layer.diff_id;
            let config = Config::new(&TreePath::literal("/x"));
            let image = Image::new(name("a.b/c:1"), config, vec![layer]).unwrap();
            let found = read(&archive(&[image]).unwrap()).unwrap();
            prop_assert_eq!(found[0].layers[0].0, expected);
        }
    }
}
