// SPDX-License-Identifier: Apache-2.0
//! Programs, certificates and keys of Kubernetes, where the role's units look for them.

use super::{
    Error, Inputs,
    draft::{Draft, Owner},
};
use crate::{
    formats::oci::{self, Program},
    kubernetes::{NODE, bring_up::IMAGES},
    tree::{Content, TreePath},
};

const STAGE: &str = "kubernetes";
/// The image that holds a pod's namespaces; overlays/containerd names it.
const PAUSE: &str = "localhost/pause:1";
/// Owns nothing on any machine.
const NOBODY: (u32, u32) = (65_534, 65_534);

/// Puts them into the draft.
pub(super) fn lay(draft: &mut Draft<'_>, inputs: &Inputs<'_>) -> Result<(), Error> {
    for (path, program) in inputs.programs {
        draft.put_file(path.as_str(), 0o755, program.clone(), STAGE)?;
    }
    for file in inputs.secrets {
        let content = Content::bytes(file.content.as_slice());
        draft.put_file(&file.path, file.mode, content, STAGE)?;
        let owner = Owner { user: file.owner.to_owned(), group: file.owner.to_owned() };
        draft.owners.insert(TreePath::new(&file.path)?, owner);
    }
    if inputs.plan.cluster.kubernetes.is_some() && inputs.plan.profile.role == NODE {
        images(draft, inputs)?;
    }
    Ok(())
}

/// Images that containerd imports before the kubelet asks for one.
fn images(draft: &mut Draft<'_>, inputs: &Inputs<'_>) -> Result<(), Error> {
    let pause = Program {
        path: TreePath::literal("/pause"),
        content: inputs.init.clone(),
        certificates: None,
        user: NOBODY,
        epoch: inputs.plan.epoch,
    };
    let pause = pause.image(PAUSE.parse().expect("a name of ours is valid"))?;
    let archive = oci::archive(&[pause])?;
    draft.put_file(&format!("{IMAGES}/pause.tar"), 0o644, archive, STAGE)
}
