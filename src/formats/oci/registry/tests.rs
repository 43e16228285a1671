// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::formats::oci::{Listed, survey};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn digest(of: &str) -> String {
    format!("sha256:{}", Digest::of(of.as_bytes()))
}

fn manifest() -> Value {
    let part =
        |kind: &str, of: &str| json!({ "mediaType": kind, "digest": digest(of), "size": of.len() });
    json!({
        "schemaVersion": 2,
        "mediaType": document::MANIFEST,
        "config": part(document::CONFIG, CONFIG),
        "layers": [part(LAYER, "layer one"), part(LAYER, "layer two")],
    })
}

fn index(platforms: &[Value]) -> Value {
    let entry = |(number, platform): (usize, &Value)| {
        json!({
            "mediaType": document::MANIFEST,
            "digest": digest(&number.to_string()),
            "size": 100 + number,
            "platform": platform,
        })
    };
    let manifests: Vec<Value> = platforms.iter().enumerate().map(entry).collect();
    json!({ "schemaVersion": 2, "mediaType": document::INDEX, "manifests": manifests })
}

const CONFIG: &str =
    r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["a","b"]}}"#;

fn read(kind: Option<&str>, document: &Value) -> Result<Answer, Unfit> {
    answer(kind, document.to_string().as_bytes())
}

fn refusal(document: &Value) -> String {
    read(None, document).map_or_else(|unfit| unfit.to_string(), |answer| format!("{answer:?}"))
}

fn changed(path: &str, value: Value) -> Value {
    let mut document = manifest();
    *document.pointer_mut(path).unwrap() = value;
    document
}

#[test]
fn manifests_of_both_specifications_name_their_parts() {
    let oci = manifest();
    let mut docker = changed("/mediaType", json!(DOCKER_MANIFEST));
    docker["config"]["mediaType"] = json!(DOCKER_CONFIG);
    docker["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
    for (document, kind) in [(oci, document::MANIFEST), (docker, DOCKER_MANIFEST)] {
        let served = format!("{kind}; charset=utf-8");
        for served in [None, Some(kind), Some(&*served), Some("application/octet-stream")] {
            let Ok(Answer::Image(parts)) = read(served, &document) else { panic!("{kind}") };
            assert_eq!((parts.layers.len(), parts.media_type), (2, kind));
            assert_eq!(parts.config.digest, Digest::of(CONFIG.as_bytes()));
            assert_eq!(parts.layers[1].size, 9);
        }
    }
    // Only OCI's may be silent about their type, and only if the answer is not.
    let mut silent = manifest();
    silent.as_object_mut().unwrap().remove("mediaType");
    assert!(matches!(read(Some(document::MANIFEST), &silent), Ok(Answer::Image(_))));
    for kind in [None, Some(DOCKER_MANIFEST), Some("text/html")] {
        assert!(matches!(read(kind, &silent), Err(Unfit::Type(_))), "{kind:?}");
    }
}

#[test]
fn of_several_platforms_every_node_s_is_taken() {
    let platform = |os: &str, architecture: &str| json!({ "os": os, "architecture": architecture });
    let others = [platform("linux", "arm64"), platform("windows", "amd64")];
    let attestation = platform("unknown", "unknown");
    let newest = json!({ "os": "linux", "architecture": "amd64", "variant": "v3" });
    let ours = platform("linux", "amd64");
    let all = [&others[..], &[attestation, newest, ours.clone(), ours]].concat();
    let expected = Part { digest: Digest::of(b"4"), size: 104 };
    assert_eq!(read(None, &index(&all)), Ok(Answer::Elsewhere(expected)));
    let mut docker = index(&all);
    docker["mediaType"] = json!(DOCKER_LIST);
    assert_eq!(read(Some(DOCKER_LIST), &docker), Ok(Answer::Elsewhere(expected)));
    assert_eq!(
        refusal(&index(&others)),
        "it is for linux/arm64, windows/amd64, expected linux/amd64"
    );
    assert_eq!(refusal(&index(&[])), "it is for no platform at all, expected linux/amd64");
    assert!(refusal(&index(&[Value::Null])).contains("no platform at all"));
}

#[test]
fn what_is_no_image_for_nodes_is_refused_with_the_reason() {
    let layer = |size: u64| json!({ "mediaType": LAYER, "digest": digest(""), "size": size });
    let large = MAX_LAYER.get();
    let both = {
        let mut both = manifest();
        both["manifests"] = json!([]);
        both
    };
    for (document, expected) in [
        (both, "it has the fields of a manifest and of an index"),
        (changed("/schemaVersion", json!(1)), "schema 1"),
        (changed("/mediaType", json!("application/x\n")), r"it is 'application/x\n', expected"),
        (
            changed("/config/mediaType", json!("application/vnd.cncf.helm.config.v1+json")),
            "its configuration is 'application/vnd.cncf.helm.config.v1+json'",
        ),
        (
            changed(
                "/layers/0/mediaType",
                json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
            ),
            "rootfs.foreign.diff.tar.gzip', which no registry serves",
        ),
        (changed("/layers", json!([])), "it has 0 layers"),
        (
            changed("/layers", json!(vec![layer(1); 128])),
            "it has 128 layers; an image has 1 to 127",
        ),
        (changed("/layers", json!([layer(large + 1)])), "a layer has"),
        (changed("/layers", json!([layer(large), layer(large), layer(1)])), "all layers together"),
        (changed("/config/size", json!(5 << 20)), "its configuration has 5 MiB"),
        (changed("/config/digest", json!("sha512:00")), "is no sha256 digest"),
        (changed("/config/digest", json!("sha256:../../x")), "is no sha256 digest"),
        (changed("/config", Value::Null), "it has no 'config'"),
        (json!([]), "it is no manifest"),
    ] {
        let found = refusal(&document);
        assert!(found.contains(expected), "{expected}: {found}");
    }
    let found = read(Some(document::INDEX), &manifest()).unwrap_err();
    assert!(matches!(found, Unfit::Types { .. }), "{found}");
}

#[test]
fn the_configuration_has_the_last_word_on_the_platform() {
    assert_eq!(check_config(CONFIG.as_bytes(), 2), Ok(()));
    let other = CONFIG.replace("amd64", "riscv64");
    let found = check_config(other.as_bytes(), 2).unwrap_err();
    assert_eq!(found.to_string(), "it is for linux/riscv64, expected linux/amd64");
    let found = check_config(CONFIG.as_bytes(), 3).unwrap_err();
    assert_eq!(found.to_string(), "its configuration names 2 layers, its manifest 3");
    assert!(matches!(check_config(b"{}", 1), Err(Unfit::Malformed(_))));
}

#[test]
fn what_was_pulled_becomes_an_archive_under_its_name() {
    let name: ImageName = "a.b/c:1".parse().unwrap();
    let mut docker = changed("/mediaType", json!(DOCKER_MANIFEST));
    docker["config"]["mediaType"] = json!(DOCKER_CONFIG);
    let mut silent = manifest();
    silent.as_object_mut().unwrap().remove("mediaType");
    let blobs: BTreeMap<Digest, Content> = [CONFIG, "layer one", "layer two"]
        .map(|text| (Digest::of(text.as_bytes()), Content::bytes(text.as_bytes())))
        .into();
    for (manifest, kind) in
        [(manifest(), document::MANIFEST), (docker, DOCKER_MANIFEST), (silent, document::MANIFEST)]
    {
        let manifest = manifest.to_string();
        let archive = pack(&name, manifest.as_bytes(), &blobs).unwrap();
        let platform = "linux/amd64".to_owned();
        assert_eq!(survey(&archive).unwrap(), [Listed { name: name.to_string(), platform }]);
        let bytes = archive.to_vec().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let index = text.split("index.json").nth(1).unwrap().split("blobs/").next().unwrap();
        assert!(index.contains(&format!(r#""mediaType":"{kind}","digest""#)), "{index}");
        assert!(text.contains(&manifest), "the manifest is as the registry has it");
        assert_eq!(bytes, pack(&name, manifest.as_bytes(), &blobs).unwrap().to_vec().unwrap());
    }
    let whole = manifest().to_string();
    let mut fewer = blobs.clone();
    fewer.pop_last();
    assert!(matches!(pack(&name, whole.as_bytes(), &fewer), Err(Error::Missing { .. })));
    let other = changed("/layers/0/size", json!(8)).to_string();
    let error = pack(&name, other.as_bytes(), &blobs).unwrap_err().to_string();
    assert!(error.contains("has 9 bytes, not 8"), "{error}");
    let index = index(&[json!({ "os": "linux", "architecture": "amd64" })]).to_string();
    let error = pack(&name, index.as_bytes(), &blobs).unwrap_err().to_string();
    assert!(error.contains("it is an index"), "{error}");
}

proptest! {
    #[test]
    fn changed_documents_never_panic(at in 0_usize..2000, value: u8, with_index: bool) {
        let platform = json!({ "os": "linux", "architecture": "amd64" });
        let document = if with_index { index(&[platform]) } else { manifest() };
        let mut bytes = document.to_string().into_bytes();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        let _ = answer(None, &bytes);
        let _ = check_config(&bytes, 1);
    }
}
