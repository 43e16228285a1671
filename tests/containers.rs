// SPDX-License-Identifier: Apache-2.0
//! Container images of ours, as two foreign implementations read them: skopeo (containers/image,
//! the library of podman and CRI-O too) and umoci (the reference of the specification).

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use kiln::{
    formats::oci::{self, Config, Image, Layer, Program},
    tree::{Content, Inode, Kind, Meta, Origin, Tree, TreePath},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::disk_tools::tool;

const EPOCH: u32 = 1_700_000_000;

/// A program like Kubernetes' own: not root, with certificates.
fn program(name: &str) -> Image {
    let program = Program {
        path: TreePath::new(&format!("/usr/local/bin/{name}")).unwrap(),
        content: Content::bytes(b"\x7fELF and more".repeat(10_000)),
        certificates: Some(Content::bytes(b"-----BEGIN CERTIFICATE-----\n".as_slice())),
        user: (65534, 65534),
        epoch: EPOCH,
    };
    program.image(format!("kiln.test/{name}:v1.20.2").parse().unwrap()).unwrap()
}

/// Two layers; the upper one has whatever a tar header cannot say.
fn layered(layer: impl Fn(&Tree) -> Layer) -> Image {
    let long = format!("/{}/{}", "d".repeat(120), "ü".repeat(100));
    let mut lower = Tree::new(EPOCH);
    put(&mut lower, "/a", Kind::File(Content::bytes(b"lower".as_slice())), 0o600);
    put(&mut lower, "/kept", Kind::File(Content::bytes(b"kept".as_slice())), 0o4755);
    let mut upper = Tree::new(EPOCH);
    put(&mut upper, "/a", Kind::File(Content::bytes(b"upper".as_slice())), 0o640);
    put(&mut upper, "/link", Kind::Symlink("../a".to_owned()), 0o777);
    upper.hard_link(TreePath::literal("/second"), &TreePath::literal("/a")).unwrap();
    let folder = TreePath::new(&long).unwrap().parent().unwrap();
    upper.make_dirs(&folder, &Meta::new(0o750, EPOCH), &Origin::Kiln("test")).unwrap();
    put(&mut upper, &long, Kind::File(Content::bytes(b"long".as_slice())), 0o644);
    let layers = [lower, upper].map(|tree| layer(&tree)).into();
    let config = Config::new(&TreePath::literal("/kept")).created(EPOCH);
    Image::new("kiln.test/layered:1".parse().unwrap(), config, layers).unwrap()
}

fn put(tree: &mut Tree, path: &str, kind: Kind, mode: u16) {
    let inode = Inode { meta: Meta::new(mode, EPOCH), kind, origin: Origin::Kiln("test") };
    tree.insert(TreePath::new(path).unwrap(), inode).unwrap();
}

/// A folder with `images.tar`, an archive of these images.
fn archived(images: &[Image]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bytes = oci::archive(images).unwrap().to_vec().unwrap();
    fs::write(folder.path().join("images.tar"), bytes).unwrap();
    folder
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn skopeo_finds_each_image_of_an_archive_by_its_name() {
    let folder = archived(&[program("kube-apiserver"), program("kube-scheduler")]);
    let archive = folder.path().join("images.tar");
    for name in ["kube-apiserver", "kube-scheduler"] {
        let place = format!("oci-archive:{}:kiln.test/{name}:v1.20.2", archive.display());
        let seen = json(&tool("skopeo", &[&"inspect", &place]));
        assert_eq!(seen["Architecture"], "amd64");
        assert_eq!(seen["Os"], "linux");
        assert_eq!(seen["Created"], "2023-11-14T22:13:20Z");
        assert_eq!(seen["Layers"].as_array().unwrap().len(), 1);
        let config = json(&tool("skopeo", &[&"inspect", &"--config", &place]));
        let expected = json!({
            "User": "65534:65534",
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Entrypoint": [format!("/usr/local/bin/{name}")],
            "WorkingDir": "/",
        });
        assert_eq!(config["config"], expected);
    }
}

/// A copy reads every byte and checks every digest. The layers are compressed here only: umoci 0.4
/// knows no zstd.
#[test]
fn skopeo_copies_what_it_has_verified() {
    let folder = archived(&[layered(|tree| Layer::compressed(tree, 3).unwrap())]);
    let archive = format!("oci-archive:{}", folder.path().join("images.tar").display());
    let copy = format!("oci:{}:copy", folder.path().join("copy").display());
    tool("skopeo", &[&"--insecure-policy", &"copy", &"--quiet", &archive, &copy]);
    let inspect = |place: &str| json(&tool("skopeo", &[&"inspect", &place]));
    assert_eq!(inspect(&archive)["Layers"], inspect(&copy)["Layers"]);
    assert_eq!(inspect(&archive)["Digest"], inspect(&copy)["Digest"]);
}

/// The image of an archive as files, by tar and umoci.
fn unpacked(folder: &Path, name: &str) -> std::path::PathBuf {
    let layout = folder.join("layout");
    fs::create_dir(&layout).unwrap();
    tool("tar", &[&"--extract", &"--file", &folder.join("images.tar"), &"--directory", &layout]);
    let image = format!("{}:{name}", layout.display());
    tool("umoci", &[&"unpack", &"--rootless", &"--image", &image, &folder.join("bundle")]);
    folder.join("bundle/rootfs")
}

fn mode_and_time(path: &Path) -> (u32, i64) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.mode() & 0o7777, metadata.mtime())
}

#[test]
fn umoci_unpacks_a_program_with_all_that_is_around_it() {
    let folder = archived(&[program("kube-apiserver")]);
    let root = unpacked(folder.path(), "kiln.test/kube-apiserver:v1.20.2");
    let at = |path: &str| mode_and_time(&root.join(path));
    assert_eq!(at("usr/local/bin/kube-apiserver"), (0o755, i64::from(EPOCH)));
    assert_eq!(at("etc/passwd"), (0o644, i64::from(EPOCH)));
    assert_eq!(at("etc/ssl/certs/ca-certificates.crt"), (0o644, i64::from(EPOCH)));
    assert_eq!(at("tmp"), (0o1777, i64::from(EPOCH)));
    assert_eq!(fs::read(root.join("usr/local/bin/kube-apiserver")).unwrap().len(), 130_000);
    let config = json(&fs::read_to_string(folder.path().join("bundle/config.json")).unwrap());
    assert_eq!(config["process"]["args"], json!(["/usr/local/bin/kube-apiserver"]));
    assert_eq!(config["process"]["cwd"], "/");
}

#[test]
fn umoci_lays_layers_over_one_another() {
    let folder = archived(&[layered(|tree| Layer::plain(tree).unwrap())]);
    let root = unpacked(folder.path(), "kiln.test/layered:1");
    assert_eq!(fs::read(root.join("a")).unwrap(), b"upper");
    assert_eq!(fs::read(root.join("kept")).unwrap(), b"kept");
    assert_eq!(mode_and_time(&root.join("kept")), (0o4755, i64::from(EPOCH)));
    assert_eq!(fs::read_link(root.join("link")).unwrap(), Path::new("../a"));
    let inode = |path: &str| fs::metadata(root.join(path)).unwrap().ino();
    assert_eq!(inode("a"), inode("second"));
    let long = format!("{}/{}", "d".repeat(120), "ü".repeat(100));
    assert_eq!(fs::read(root.join(long)).unwrap(), b"long");
}
