// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::{plan::Given, profile::Profiles};

const CLUSTER: &str = "schema: 1
name: c
version: '1'
kubernetes: { version: VERSION, binaries: up, addons: [one] }
endpoint: { vip: 10.1.0.9 }
networks: { hosts: 10.1.0.0/24, pods: 10.2.0.0/16, services: 10.3.0.0/24, dns: 10.3.0.2 }
etcd: { members: [m1] }
hosts: { m1: { role: master, address: 10.1.0.1 }, n1: { role: node, address: 10.1.0.2 } }
";
const PROFILE: &str = "packages: [base-files]\nkernel: { package: linux }\nvars: { on: 'yes' }\n";

/// A workspace with the add-on `one`, which has these files.
fn workspace(version: &str, files: &[(&str, &str)]) -> Workspace {
    let source =
        |name: &str| (name.to_owned(), Source::new(format!("profiles/{name}.yaml"), PROFILE));
    let files = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), OverlayFile::file(text.as_bytes(), false)));
    let addon = Overlay { name: "one".to_owned(), files: files.collect() };
    Workspace {
        cluster: Source::new("cluster.yaml", CLUSTER.replace("VERSION", version)),
        profiles: [source("master"), source("node")].into(),
        overlays: Default::default(),
        addons: [("one".to_owned(), addon)].into(),
    }
}

/// What a role gets, or the complaints.
fn extended(
    role: &str,
    version: &str,
    files: &[(&str, &str)],
) -> Result<(Profile, Vec<Addon>), String> {
    let workspace = workspace(version, files);
    let problems = Problems::new();
    let cluster = crate::cluster::load(&workspace, &problems).expect("a cluster");
    let mut profile =
        Profiles::parse(&workspace, &problems).load(role, &problems).expect("a profile");
    let addons = extend(&cluster, &mut profile, &workspace, &problems);
    problems.finish(Some((profile, addons))).map_err(|invalid| invalid.to_string())
}

fn refusal(version: &str, text: &str) -> String {
    extended("master", version, &[("a.yaml", text)]).map_or_else(|why| why, |_| String::new())
}

fn object(api_version: &str, kind: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{ name: a }}\n")
}

#[test]
fn objects_are_applied_in_the_order_of_their_kinds_with_the_text_that_was_written() {
    let first = "# A comment of the first.\n\
        apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n\
        spec:\n  template:\n    spec:\n      initContainers: [{image: busybox:1}]\n      containers: [{image: 'a.b/c:1'}, {image: a.b/d:2}]\n\
        --- # the next\n# nothing here\n---\n\
        apiVersion: a.b/v1\nkind: Shop\nmetadata: {name: s}\nspec: {flag: on, mode: 0644}\n";
    let second = "---\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n...\n\
        apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: shops.a.b}\n\
        --- {apiVersion: v1, kind: Service, metadata: {name: '{{ vars.on }}-{{ kubernetes.minor }}', namespace: shop}}\n";
    let descriptor = format!(
        "schema: 1\nversion: '2'\nimages:\n- {{ name: a.b/c:1, archive: images/c.tar, sha256: {0} }}\n\
         - {{ name: a.b/e:1, archive: images/c.tar, sha256: {0} }}\n",
        Digest::of(b"c")
    );
    let files = [
        ("a.yaml", first),
        ("b.yaml.tera", second),
        ("addon.yaml", &descriptor),
        ("README.md", "# One\n"),
    ];
    let (profile, addons) = extended("master", "v1.30.1", &files).unwrap();
    let [addon] = &addons[..] else { panic!("{addons:?}") };
    assert_eq!(addon.to_string(), "one 2");
    assert_eq!(
        addon.objects,
        [
            "Namespace shop",
            "CustomResourceDefinition shops.a.b",
            "Service shop/yes-30",
            "Deployment shop/web",
            "Shop s"
        ]
    );
    assert_eq!(addon.pulled, ["a.b/d:2", "busybox:1"]);
    let path = place("/usr/lib/kiln/bring-up/objects/000-one.yaml");
    let FileContent::Text(text) = &profile.files[&path].content else { panic!("a text") };
    assert_eq!(text.matches("---\n").count(), 5, "{text}");
    assert!(text.contains("---\n# A comment of the first.\napiVersion: apps/v1\n"), "{text}");
    assert!(text.ends_with("spec: {flag: on, mode: 0644}\n"), "{text}");
    assert!(profile.binaries.is_empty(), "masters run no pods");

    let (profile, addons) = extended("node", "v1.30.1", &files).unwrap();
    assert!(addons[0].objects.is_empty() && profile.files.is_empty());
    let paths: Vec<String> = profile.binaries.keys().map(ToString::to_string).collect();
    assert_eq!(paths, ["/usr/lib/kiln/images/one-1.tar"], "one archive, two images");
    assert_eq!(profile.binaries.values().next().unwrap().source, "images/c.tar");
}

#[test]
fn an_image_of_a_registry_has_a_file_beside_the_archives() {
    let pinned = Digest::of(b"index");
    let descriptor = format!(
        "schema: 1\nimages:\n- {{ name: a.b/c:1, archive: c.tar, sha256: {pinned} }}\n\
         - pull: registry.k8s.io/d/e:v2@sha256:{pinned}\n\
         - {{ pull: 'registry.lan:5000/f:3', allow-plain-http: true }}\n\
         - {{ pull: 'registry.lan:5000/f:3', allow-plain-http: true }}\n"
    );
    let pod = format!(
        "{}spec: {{ containers: [{{ image: 'registry.k8s.io/d/e:v2' }}, {{ image: 'a.b/x:1' }}] }}\n",
        object("v1", "Pod")
    );
    let files = [("a.yaml", &*pod), ("addon.yaml", &*descriptor)];
    let (profile, addons) = extended("master", "v1.30.0", &files).unwrap();
    assert_eq!(addons[0].pulled, ["a.b/x:1"]);
    assert!(profile.images.is_empty());
    let (profile, addons) = extended("node", "v1.30.0", &files).unwrap();
    let found: Vec<String> = profile
        .images
        .iter()
        .map(|(path, pull)| format!("{path} {} {}", pull.reference, pull.allow_plain_http))
        .collect();
    assert_eq!(
        found,
        [
            format!("/usr/lib/kiln/images/one-2.tar registry.k8s.io/d/e:v2@sha256:{pinned} false"),
            "/usr/lib/kiln/images/one-3.tar registry.lan:5000/f:3 true".to_owned(),
        ]
    );
    assert_eq!(profile.binaries.len(), 1);
    // As `kiln plan --json` prints them.
    let json = serde_json::to_value(&addons[0].images).unwrap();
    let expected = serde_json::json!([
        { "name": "a.b/c:1", "archive": "c.tar", "sha256": pinned },
        { "name": "registry.k8s.io/d/e:v2", "pull": format!("registry.k8s.io/d/e:v2@sha256:{pinned}") },
        { "name": "registry.lan:5000/f:3", "pull": "registry.lan:5000/f:3", "allow-plain-http": true },
        { "name": "registry.lan:5000/f:3", "pull": "registry.lan:5000/f:3", "allow-plain-http": true },
    ]);
    assert_eq!(json, expected);
    let profile = serde_json::to_value(&profile).unwrap();
    assert_eq!(profile["images"].as_object().unwrap().len(), 2);
}

#[test]
fn an_image_may_be_for_some_minors_only() {
    let descriptor = "schema: 1\nimages:\n- { pull: 'a.b/c:1', kubernetes: { max: '1.20' } }\n\
                      - { pull: 'a.b/c:2', kubernetes: { min: '1.21' } }\n";
    for (version, image) in [("v1.20.2", "a.b/c:1"), ("v1.21.0", "a.b/c:2")] {
        let (profile, _) = extended("node", version, &[("addon.yaml", descriptor)]).unwrap();
        let images: Vec<String> =
            profile.images.values().map(|pull| pull.reference.to_string()).collect();
        assert_eq!(images, [image]);
    }
}

#[test]
fn what_says_nothing_of_registries_has_the_plan_it_always_had() {
    let (profile, _) = extended("node", "v1.30.0", &[("a.yaml", &object("v1", "Pod"))]).unwrap();
    assert_eq!(serde_json::to_value(&profile).unwrap().get("images"), None);
}

#[test]
fn versions_that_a_minor_does_not_serve_are_refused() {
    for (version, api_version, kind, expected) in [
        ("v1.20.0", "extensions/v1beta1", "Deployment", "since 1.16"),
        ("v1.21.0", "extensions/v1beta1", "Ingress", ""),
        ("v1.22.0", "extensions/v1beta1", "Ingress", "since 1.22"),
        ("v1.21.0", "rbac.authorization.k8s.io/v1beta1", "Role", ""),
        ("v1.22.0", "rbac.authorization.k8s.io/v1beta1", "Role", "since 1.22"),
        ("v1.24.0", "policy/v1beta1", "PodSecurityPolicy", ""),
        ("v1.25.0", "policy/v1beta1", "PodSecurityPolicy", "since 1.25"),
        ("v1.20.0", "policy/v1", "PodDisruptionBudget", "before 1.21"),
        ("v1.21.0", "policy/v1", "PodDisruptionBudget", ""),
        ("v1.20.0", "batch/v1", "Job", ""),
        ("v1.20.0", "batch/v1", "CronJob", "before 1.21"),
        ("v1.25.0", "batch/v1beta1", "CronJob", "since 1.25"),
        ("v1.25.0", "autoscaling/v2beta2", "HorizontalPodAutoscaler", ""),
        ("v1.26.0", "autoscaling/v2beta2", "HorizontalPodAutoscaler", "since 1.26"),
        ("v1.25.0", "flowcontrol.apiserver.k8s.io/v1beta3", "FlowSchema", "before 1.26"),
        ("v1.31.0", "flowcontrol.apiserver.k8s.io/v1beta3", "FlowSchema", ""),
        ("v1.32.0", "flowcontrol.apiserver.k8s.io/v1beta3", "FlowSchema", "since 1.32"),
        ("v1.36.0", "storage.k8s.io/v1beta1", "VolumeAttributesClass", ""),
        ("v1.36.0", "example.org/v1beta1", "Thing", ""),
    ] {
        let found = refusal(version, &object(api_version, kind));
        let (is_served, minor) = (expected.is_empty(), &version[1..5]);
        assert_eq!(found.is_empty(), is_served, "{version} {api_version} {kind}: {found}");
        if !is_served {
            let title = format!("Kubernetes {minor} does not serve '{api_version}' of {kind} ");
            assert!(found.contains(&title) && found.contains(expected), "{found}");
        }
    }
}

#[test]
fn nobody_becomes_a_superuser_unless_the_descriptor_says_so_in_words() {
    let binding = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: a}\n\
                   roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n";
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: b}\n\
                rules:\n- {apiGroups: ['*'], resources: ['*'], verbs: [get]}\n- {apiGroups: ['*'], resources: ['*'], verbs: ['*']}\n";
    let both = format!("{binding}---\n{role}");
    let found = refusal("v1.30.0", &both);
    assert!(found.contains("ClusterRoleBinding a binds the role 'cluster-admin'"), "{found}");
    assert!(found.contains("a.yaml:1:1") && found.contains("a.yaml:6:1"), "{found}");
    assert!(found.contains("ClusterRole b allows everything, as 'cluster-admin' does"), "{found}");
    let allowed = [("a.yaml", &*both), ("addon.yaml", "schema: 1\nallow-cluster-admin: true\n")];
    assert!(extended("master", "v1.30.0", &allowed).is_ok());
    let viewer = role.replace("verbs: ['*']", "verbs: [list]");
    assert_eq!(refusal("v1.30.0", &viewer), "");
}

#[test]
fn a_secret_of_a_manifest_says_nothing() {
    let secret = |rest: &str| refusal("v1.30.0", &format!("{}{rest}", object("v1", "Secret")));
    for rest in ["", "data: {}\n", "data: { key: '' }\n", "stringData: { key: }\n"] {
        assert_eq!(secret(rest), "", "{rest}");
    }
    for rest in ["data: { key: aHVudGVyMg== }\n", "stringData: { a: '', b: hunter2 }\n"] {
        let found = secret(rest);
        let expected = "Secret a would be no secret: manifests are in plans and images";
        assert!(found.contains(expected) && !found.contains("hunter2"), "{found}");
    }
}

#[test]
fn what_cannot_be_applied_is_refused() {
    let deep =
        format!("{}spec: {}1{}\n", object("a.b/v1", "Deep"), "{ a: ".repeat(60), " }".repeat(60));
    assert_eq!(refusal("v1.30.0", &deep), "", "schemas are deep");
    let large = format!("{}data: {{ a: {} }}\n", object("v1", "ConfigMap"), "x".repeat(256 << 10));
    for (text, expected) in [
        (&*large, "'ConfigMap' 'a' has 262222 bytes, at most 262144 can be applied"),
        ("kind: Pod\nmetadata: {}\n", "an object without 'apiVersion'"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}\n", "an object without 'metadata.name'"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: { generateName: a- }\n",
            "an object without a name of its own",
        ),
        ("apiVersion: v1\nkind: List\nitems: []\n", "a list of objects"),
        ("- a\n", "expected a map, found a list"),
        ("apiVersion: v1\nkind: [Pod\n", "this is no YAML"),
        ("apiVersion: v1\nkind: Pod\nkind: Pod\n", "key 'kind' appears twice"),
    ] {
        let found = refusal("v1.30.0", text);
        assert!(found.contains(expected), "{expected}: {found}");
    }
    let twice = format!("{}---\n{}", object("v1", "Pod"), object("v1", "Pod"));
    let found = refusal("v1.30.0", &twice);
    assert!(found.contains("Pod a is an object of add-on 'one' already"), "{found}");
    assert!(found.contains("a.yaml:5:1"), "the place is that of the whole file: {found}");
}

#[test]
fn a_manifest_s_change_moves_the_masters_plan_and_an_archive_s_the_nodes() {
    let digests = |text: &str, sha256: &str| {
        let descriptor = format!(
            "schema: 1\nimages: [{{ name: a.b/c:1, archive: c.tar, sha256: {} }}]\n",
            Digest::of(sha256.as_bytes())
        );
        let files = [("a.yaml", text), ("addon.yaml", &descriptor)];
        let given = Given { epoch: 1, init: Digest::of(b"") };
        let plans = crate::plan::plan(&workspace("v1.30.0", &files), &[], given).unwrap();
        plans.iter().map(|plan| plan.digest).collect::<Vec<_>>()
    };
    let pod = object("v1", "Pod");
    let before = digests(&pod, "1");
    let [master, node] = digests(&format!("{pod}spec: {{}}\n"), "1")[..] else { panic!() };
    assert!(master != before[0] && node == before[1]);
    let [master, node] = digests(&pod, "2")[..] else { panic!() };
    assert!(master == before[0] && node != before[1]);
}
