// SPDX-License-Identifier: Apache-2.0
//! Programs, certificates and keys of Kubernetes, where the role's units look for them.

use std::{collections::BTreeSet, slice};

use super::{
    Error, Inputs,
    draft::{Draft, Owner},
};
use crate::{
    formats::oci::{self, Image, ImageName, Program},
    kubernetes::bring_up::{IMAGE_NAMES, IMAGES, PAUSE},
    tree::{Content, Kind, TreePath},
};

const STAGE: &str = "kubernetes";
/// Owns nothing on any machine.
const NOBODY: (u32, u32) = (65_534, 65_534);
/// Owns the keys that static pods read.
const ROOT: (u32, u32) = (0, 0);
/// Of zstd. containerd keeps an image's layers as they come beside what it unpacks, and `var` may be
/// small: a layer takes a quarter there, in half a second of a build.
const LEVEL: i32 = 3;

/// Puts them into the draft.
pub(super) fn lay(draft: &mut Draft<'_>, inputs: &Inputs<'_>) -> Result<(), Error> {
    for (program, content) in inputs.programs {
        let path = &program.path;
        match &program.image {
            None => draft.put_file(path.as_str(), 0o755, content.clone(), STAGE)?,
            Some(name) => {
                let container = container(path, content, ROOT, inputs);
                put_image(draft, program.name, &container.compressed_image(name_of(name), LEVEL)?)?;
            }
        }
    }
    for file in inputs.secrets {
        let content = Content::bytes(file.content.as_slice());
        draft.put_file(&file.path, file.mode, content, STAGE)?;
        let owner = Owner { user: file.owner.to_owned(), group: file.owner.to_owned() };
        draft.owners.insert(TreePath::new(&file.path)?, owner);
    }
    if inputs.plan.cluster.runs_pods(&inputs.plan.profile.role) {
        let pause = container(&TreePath::literal("/pause"), &inputs.init, NOBODY, inputs);
        put_image(draft, "pause", &pause.image(name_of(PAUSE))?)?;
        let names: String = names(draft)?.iter().map(|name| format!("{name}\n")).collect();
        draft.put_file(IMAGE_NAMES, 0o644, Content::bytes(names.into_bytes()), STAGE)?;
    }
    Ok(())
}

/// What containerd will call the images of all archives, whoever put them there: a machine pins
/// them by name. An image for another kind of machine is none that a pod runs.
fn names(draft: &Draft<'_>) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for (path, inode) in draft.tree.children(&TreePath::new(IMAGES)?) {
        let Kind::File(content) = &inode.kind else { continue };
        if !path.file_name().ends_with(".tar") {
            continue;
        }
        let listed = oci::survey(content)
            .map_err(|source| Error::ImageNames { path: path.clone(), source })?;
        let ours = listed.into_iter().filter(|image| image.platform == "linux/amd64");
        // A foreign archive may hold what is no name, which nothing can ask for either.
        names.extend(ours.map(|image| image.name).filter(|name| name.parse::<ImageName>().is_ok()));
    }
    Ok(names)
}

/// A container that is one program.
fn container(path: &TreePath, content: &Content, user: (u32, u32), inputs: &Inputs<'_>) -> Program {
    let (path, content, epoch) = (path.clone(), content.clone(), inputs.plan.epoch);
    Program { path, content, certificates: None, user, epoch }
}

fn name_of(image: &str) -> ImageName {
    image.parse().expect("a name of ours is valid")
}

/// Where containerd imports it before the kubelet asks for it.
fn put_image(draft: &mut Draft<'_>, name: &str, image: &Image) -> Result<(), Error> {
    let archive = oci::archive(slice::from_ref(image))?;
    draft.put_file(&format!("{IMAGES}/{name}.tar"), 0o644, archive, STAGE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{firewall, overlay},
        *,
    };
    use crate::{
        kubernetes::{
            fixture::{STATIC_PODS, planned},
            role,
        },
        profile::Pull,
    };

    #[test]
    fn a_master_with_pods_has_the_rules_of_pods_and_services() {
        let plan = planned(STATIC_PODS, "master");
        let mut draft = Draft::new(&plan);
        draft.write("/usr/sbin/nft", "", STAGE).unwrap();
        firewall::write(&mut draft).unwrap();
        let rules = draft.text("/etc/nftables.conf").unwrap().unwrap();
        for rule in [
            "ip saddr { 192.168.31.0/24, 10.244.0.0/16 } ip daddr 10.0.0.0/24 accept",
            "ip saddr 10.244.0.0/16 ip daddr != ",
            "ip saddr 10.244.0.0/16 tcp dport 10250 accept",
        ] {
            assert!(rules.contains(rule), "{rules}");
        }
    }

    #[test]
    fn an_image_of_a_registry_lies_beside_the_others() {
        let mut plan = planned(STATIC_PODS, "master");
        let path = TreePath::new(&format!("{IMAGES}/dns-1.tar")).unwrap();
        let pull = Pull { reference: "a.b/c:1".parse().unwrap(), allow_plain_http: false };
        plan.profile.images.insert(path.clone(), pull);
        let lay = |images: &BTreeMap<TreePath, Content>| {
            let mut draft = Draft::new(&plan);
            let inputs = Inputs {
                plan: &plan,
                packages: &[],
                overlays: &[],
                init: Content::bytes(*b"init"),
                binaries: &BTreeMap::new(),
                images,
                programs: &[],
                secrets: &[],
            };
            overlay::lay(&mut draft, &inputs)?;
            let (_, inode) = draft.find(path.as_str()).unwrap();
            let Kind::File(content) = &inode.kind else { panic!("{inode:?}") };
            Ok::<_, Error>(content.to_vec().unwrap())
        };
        let archives = [(path.clone(), Content::bytes(*b"an archive"))].into();
        assert_eq!(lay(&archives).unwrap(), b"an archive");
        assert!(matches!(lay(&BTreeMap::new()), Err(Error::NoImage { .. })));
    }

    #[test]
    fn a_static_pod_s_program_lies_in_its_image_and_nowhere_else() {
        let plan = planned(STATIC_PODS, "master");
        let programs = role::programs(&plan.cluster, "master");
        let programs: Vec<_> = programs
            .into_iter()
            .map(|program| {
                let content = Content::bytes(program.name.as_bytes().repeat(100));
                (program, content)
            })
            .collect();
        let mut draft = Draft::new(&plan);
        let inputs = Inputs {
            plan: &plan,
            packages: &[],
            overlays: &[],
            init: Content::bytes(*b"init"),
            binaries: &BTreeMap::new(),
            images: &BTreeMap::new(),
            programs: &programs,
            secrets: &[],
        };
        lay(&mut draft, &inputs).unwrap();
        let names = |folder| -> Vec<String> {
            let folder = TreePath::literal(folder);
            let children = draft.tree.children(&folder);
            children.map(|(path, _)| path.file_name().to_owned()).collect()
        };
        assert_eq!(names("/usr/bin"), ["kube-proxy", "kubectl", "kubelet"]);
        let archives = [
            "kube-apiserver.tar",
            "kube-controller-manager.tar",
            "kube-scheduler.tar",
            "names",
            "pause.tar",
        ];
        assert_eq!(names(IMAGES), archives);
        assert_eq!(
            draft.text(IMAGE_NAMES).unwrap().unwrap(),
            "localhost/kube-apiserver:v1.20.2\n\
             localhost/kube-controller-manager:v1.20.2\n\
             localhost/kube-scheduler:v1.20.2\n\
             localhost/pause:1\n"
        );
        let (_, inode) = draft.find(&format!("{IMAGES}/kube-apiserver.tar")).unwrap();
        let Kind::File(archive) = &inode.kind else { panic!("{inode:?}") };
        let found = oci::read(archive).unwrap().remove(0);
        assert_eq!(found.name, "localhost/kube-apiserver:v1.20.2");
        assert!(found.config.contains("/usr/bin/kube-apiserver"), "{found}");
        let (_, layer) = &found.layers[0];
        let layer = zstd::decode_all(&*layer.to_vec().unwrap()).unwrap();
        let program = b"kube-apiserver".repeat(100);
        assert!(layer.windows(program.len()).any(|window| window == program));
    }
}
