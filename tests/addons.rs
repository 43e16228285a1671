// SPDX-License-Identifier: Apache-2.0
//! The repository's own add-ons, for several minors of Kubernetes, and archives of images as other
//! tools write them.

use std::{fmt::Write as _, fs, path::Path};

use kiln::{
    diagnostic::Source,
    digest::Digest,
    formats::oci::{self, Listed, Program},
    kubernetes::addons::Addon,
    plan::{Given, Plan, plan},
    profile::FileContent,
    sys,
    tree::{Content, TreePath},
    workspace::Workspace,
};

use crate::support::{
    archive::{Deb, Suite},
    disk_tools::tool,
    qemu::repository,
    release,
    workspace::Workspace as Folder,
};

/// The repository's workspace, with a cluster that runs these add-ons.
fn planned(version: &str, addons: &str) -> Vec<Plan> {
    let network = if addons.contains("flannel") { "flannel" } else { "routed" };
    planned_with(version, addons, network)
}

/// The same with that network of the pods.
fn planned_with(version: &str, addons: &str, network: &str) -> Vec<Plan> {
    let workspace = sys::workspace::load(repository()).unwrap();
    let cluster = format!(
        "schema: 1\nname: c\nversion: '1'\n\
         kubernetes: {{ version: {version}, binaries: up, proxy-mode: iptables, network: {network}, addons: [{addons}] }}\n\
         endpoint: {{ vip: 10.1.0.9 }}\n\
         networks: {{ hosts: 10.1.0.0/24, pods: 10.2.0.0/16, services: 10.3.0.0/24, dns: 10.3.0.2, domain: kiln.test, nameservers: [10.1.0.53] }}\n\
         etcd: {{ members: [m1] }}\n\
         hosts: {{ m1: {{ role: master, address: 10.1.0.1 }}, n1: {{ role: node, address: 10.1.0.2 }} }}\n"
    );
    let workspace = Workspace { cluster: Source::new("cluster.yaml", cluster), ..workspace };
    let given = Given { epoch: 0, init: Digest::of(b"") };
    plan(&workspace, &[], given).unwrap_or_else(|invalid| panic!("{version} {addons}: {invalid}"))
}

fn plan_of<'a>(plans: &'a [Plan], role: &str) -> &'a Plan {
    plans.iter().find(|plan| plan.profile.role == role).unwrap()
}

/// What a master applies.
fn applied(plans: &[Plan], addon: &str) -> String {
    let files = &plan_of(plans, "master").profile.files;
    let is_of = |path: &&TreePath| path.as_str().ends_with(&format!("-{addon}.yaml"));
    let path = files.keys().find(is_of).unwrap_or_else(|| panic!("no file of {addon}"));
    match &files[path].content {
        FileContent::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// All but the one whose controller began later.
const ANY_MINOR: &str = "coredns, metrics-server, dashboard, log-shipping, flannel";

#[test]
fn every_add_on_of_the_repository_is_right_for_old_and_new_minors() {
    let mut text = String::new();
    for (version, addons) in [
        ("v1.20.2", ANY_MINOR.to_owned()),
        ("v1.24.17", ANY_MINOR.to_owned()),
        ("v1.28.0", format!("{ANY_MINOR}, ingress-nginx")),
        ("v1.36.0", format!("{ANY_MINOR}, ingress-nginx")),
    ] {
        let plans = planned(version, &addons);
        for Addon { name, objects, images, .. } in &plan_of(&plans, "master").addons {
            writeln!(text, "{version} {name}").unwrap();
            objects.iter().for_each(|object| writeln!(text, "  {object}").unwrap());
            images.iter().for_each(|image| writeln!(text, "  with image {}", image.name).unwrap());
        }
    }
    let golden = repository().join("tests/golden/addons.txt");
    if std::env::var_os("KILN_BLESS").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(golden).unwrap_or_default());
    let folders = fs::read_dir(repository().join("addons")).unwrap();
    for folder in folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        assert!(text.contains(&format!(" {folder}\n")), "no test checks addons/{folder}");
    }
}

#[test]
fn every_image_of_an_add_on_comes_with_the_nodes_and_none_beside_them() {
    for (version, addons) in [
        ("v1.20.2", ANY_MINOR.to_owned()),
        ("v1.21.0", ANY_MINOR.to_owned()),
        ("v1.36.0", format!("{ANY_MINOR}, ingress-nginx")),
    ] {
        let plans = planned(version, &addons);
        let mut listed = 0;
        for Addon { name, images, pulled, .. } in &plan_of(&plans, "master").addons {
            assert_eq!(*pulled, [""; 0], "{version} {name}: nodes would ask a registry");
            let text = applied(&plans, name);
            for image in images {
                let line = format!("image: {}\n", image.name);
                assert!(text.contains(&line), "{version} {name}: no pod runs {}", image.name);
            }
            listed += images.len();
        }
        assert_eq!(plan_of(&plans, "node").profile.images.len(), listed, "{version}");
    }
}

#[test]
fn dns_answers_at_the_cluster_file_s_address_for_its_domain() {
    let old = applied(&planned("v1.20.2", "coredns"), "coredns");
    let new = applied(&planned("v1.36.0", "coredns"), "coredns");
    for text in [&old, &new] {
        assert!(text.contains("clusterIP: 10.3.0.2\n"), "{text}");
        assert!(text.contains("kubernetes kiln.test in-addr.arpa"), "{text}");
        assert!(text.contains("forward . 10.1.0.53 {\n"), "{text}");
        let corefile = text.split("Corefile: |").nth(1).unwrap().split("---").next().unwrap();
        // Its reader takes what follows on a line as arguments, a closing brace too.
        assert!(corefile.lines().all(|line| !line.contains('}') || line.trim() == "}"), "{text}");
    }
    assert!(old.contains("apiVersion: policy/v1beta1\n") && old.contains("coredns:1.7.0\n"));
    assert!(new.contains("apiVersion: policy/v1\n") && new.contains("coredns:v1.11.3\n"));
}

/// A second reader of YAML, whose types are its own.
#[test]
fn containers_of_the_add_ons_give_up_every_right_that_they_do_not_need() {
    let plans = planned("v1.36.0", &format!("{ANY_MINOR}, ingress-nginx"));
    let mut seen = 0;
    for addon in &plan_of(&plans, "master").addons {
        let text = applied(&plans, &addon.name);
        for document in text.split("---\n").filter(|document| !document.trim().is_empty()) {
            let object: serde_json::Value = serde_saphyr::from_str(document).unwrap();
            let pod = &object["spec"]["template"]["spec"];
            let lists = [&pod["containers"], &pod["initContainers"]];
            for container in lists.into_iter().filter_map(serde_json::Value::as_array).flatten() {
                let context = &container["securityContext"];
                let name = format!("{} of {}", container["name"], addon.name);
                assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
                assert_eq!(context["capabilities"]["drop"][0], "ALL", "{name}");
                assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
                assert!(container["image"].as_str().unwrap().contains(':'), "{name}");
                let is_root_s = ["flannel", "log-shipping"].contains(&&*addon.name);
                assert!(is_root_s || pod["securityContext"]["runAsNonRoot"] == true, "{name}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 7);
}

#[test]
fn each_network_of_the_pods_changes_what_it_must() {
    let flannel = planned("v1.30.0", "flannel");
    let routed = planned("v1.30.0", "coredns");
    let file = |plans: &[Plan], role: &str, path: &str| {
        let files = plan_of(plans, role).profile.files.clone();
        files.get(&TreePath::new(path).unwrap()).map(|file| format!("{:?}", file.content))
    };
    let conflist = "/etc/cni/net.d/10-kiln.conflist";
    assert!(file(&routed, "node", conflist).unwrap().contains("vars.pod_range"));
    let config = file(&flannel, "node", conflist).unwrap();
    assert!(config.contains("/run/flannel/subnet.env"), "{config}");
    let plugin = file(&flannel, "node", "/usr/lib/cni/flannel").unwrap();
    assert_eq!(plugin, "Symlink(\"/run/flannel/cni/flannel\")");
    let node = &plan_of(&flannel, "node").profile;
    assert!(node.kernel.modules.contains("vxlan"));
    let rules: Vec<String> = node.firewall.allow.iter().map(ToString::to_string).collect();
    assert!(rules.contains(&"udp 8472 from hosts".to_owned()), "{rules:?}");
    let manager = "/usr/lib/systemd/system/kube-controller-manager.service";
    let unit = file(&flannel, "master", manager).unwrap();
    assert!(
        unit.contains("--allocate-node-cidrs=true") && unit.contains("--node-cidr-mask-size=24")
    );
    let unit = file(&routed, "master", manager).unwrap();
    assert!(unit.contains("--allocate-node-cidrs=false") && !unit.contains("mask-size"));
    // What somebody else brings has a place, and whoever starts pods waits for it.
    let none = planned_with("v1.30.0", "coredns", "none");
    assert_eq!(file(&none, "node", conflist), None);
    let added = file(&none, "node", "/opt/cni/bin").unwrap();
    assert_eq!(added, "Symlink(\"/usr/lib/cni\")");
    let mount = file(&none, "node", "/usr/lib/systemd/system/usr-lib-cni.mount").unwrap();
    assert!(mount.contains("RequiredBy=containerd.service"), "{mount}");
    let services = &plan_of(&none, "node").profile.services;
    assert!(services.enable.contains("usr-lib-cni.mount"));
    assert_eq!(file(&routed, "node", "/opt/cni/bin"), None);
    let cluster = &flannel[0].cluster;
    assert!(!cluster.hosts["n1"].vars.contains_key("pod_range"));
    let seed = kiln::seed::files(cluster, "m1").unwrap();
    assert!(!String::from_utf8_lossy(&seed["network-config"]).contains("10.2."));
}

/// An archive with one program under that name, made by Kiln.
fn archive(folder: &Path, name: &str) -> std::path::PathBuf {
    let program = Program {
        path: TreePath::literal("/program"),
        content: Content::bytes(*b"\x7fELF"),
        certificates: None,
        user: (65_534, 65_534),
        epoch: 0,
    };
    let bytes = oci::archive(&[program.image(name.parse().unwrap()).unwrap()]).unwrap();
    let path = folder.join("kiln.tar");
    fs::write(&path, bytes.to_vec().unwrap()).unwrap();
    path
}

#[test]
fn archives_of_other_tools_are_surveyed_as_containerd_will_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let name = "kiln.test/program:1";
    let own = archive(folder.path(), name);
    let from = format!("oci-archive:{}:{name}", own.display());
    let survey = |file: &Path| oci::survey(&sys::fs::content(file).unwrap()).unwrap();
    let listed =
        |name: &str| vec![Listed { name: name.to_owned(), platform: "linux/amd64".to_owned() }];
    assert_eq!(survey(&own), listed(name));
    for (form, given, expected) in [
        ("docker-archive", name, name),
        ("docker-archive", "busybox:1", "docker.io/library/busybox:1"),
        ("oci-archive", name, name),
        // Only a tag: nobody can tell whose.
        ("oci-archive", "latest", ""),
    ] {
        let file = folder.path().join("copy.tar");
        let to = format!("{form}:{}:{given}", file.display());
        tool("skopeo", &[&"copy", &"--quiet", &"--insecure-policy", &from, &to]);
        assert_eq!(survey(&file), listed(expected), "{form} {given}");
        let bytes = fs::read(&file).unwrap();
        for cut in [0, 100, 512, 1536, bytes.len() / 2] {
            let content = Content::bytes(&bytes[..cut]);
            assert!(oci::survey(&content).is_err(), "{form} of {cut} bytes");
        }
        fs::remove_file(&file).unwrap();
    }
    let packed = tool("gzip", &[&"--keep", &own]);
    assert_eq!(packed, "");
    let packed = sys::fs::content(&folder.path().join("kiln.tar.gz")).unwrap();
    let error = oci::survey(&packed).unwrap_err().to_string();
    assert!(error.contains("no uncompressed tar archive"), "{error}");
}

const NODES: &str = "schema: 1
name: test
version: '1'
kubernetes: { version: v1.20.2, binaries: up, addons: [one] }
endpoint: { vip: 10.1.0.100 }
networks: { hosts: 10.1.0.0/24, pods: 10.2.0.0/16, services: 10.3.0.0/24, dns: 10.3.0.2 }
etcd: { members: [node-1] }
hosts: { node-1: { role: node, address: 10.1.0.2 } }
";

/// Before anything is fetched: the archive's server is not asked for a package.
#[test]
fn a_build_begins_with_the_archives_of_its_add_ons() {
    let folder = Folder::new();
    let names = [
        "conntrack",
        "etcd-client",
        "etcd-server",
        "ethtool",
        "findutils",
        "ipset",
        "iptables",
        "linux",
        "runc",
    ];
    let debs: Vec<Deb> = names.iter().map(|name| Deb::new(name, "9", "")).collect();
    Suite::new("debian", "trixie", &debs).publish(&folder.server, &folder.key);
    Suite::new("debian-security", "trixie-security", &[]).publish(&folder.server, &folder.key);
    folder.write("cluster.yaml", NODES);
    for program in ["kubelet", "kube-proxy"] {
        let path = folder.path(&format!("up/{program}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, release::program(program, "v1.20.2")).unwrap();
    }
    let descriptor = |sha256: Digest| {
        let image = format!("{{ name: kiln.test/program:1, archive: c.tar, sha256: {sha256} }}");
        folder.write("addons/one/addon.yaml", &format!("schema: 1\nimages: [{image}]\n"));
    };
    descriptor(Digest::of(b""));
    folder.run(&["lock"]).done();
    folder.server.log();
    let report = folder.run(&["build"]).refused();
    assert_eq!(
        report,
        "error: taking image 'kiln.test/program:1' of add-on 'one'\n\
         cause: there is no './c.tar'\n\
         help:  'skopeo copy docker://kiln.test/program:1 docker-archive:c.tar:kiln.test/program:1' makes it; or take 'pull: kiln.test/program:1'"
    );
    fs::rename(archive(&folder.path(""), "kiln.test/other:1"), folder.path("c.tar")).unwrap();
    let report = folder.run(&["build"]).refused();
    assert!(report.contains("cause: expected SHA-256 "), "{report}");
    descriptor(Digest::of(&fs::read(folder.path("c.tar")).unwrap()));
    let report = folder.run(&["build"]).refused();
    assert_eq!(
        report,
        "error: taking image 'kiln.test/program:1' of add-on 'one'\n\
         cause: './c.tar' does not hold it, but 'kiln.test/other:1'\n\
         help:  correct 'name' in addon.yaml, or save the image under that name"
    );
    assert_eq!(folder.server.log(), Vec::<String>::new());
    // Whether an archive changes is no concern of the lock.
    folder.run(&["lock", "--check"]).done();
}
