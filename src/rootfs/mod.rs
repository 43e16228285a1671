// SPDX-License-Identifier: Apache-2.0
//! The root file system of a role: packages, overlays and the profile become a [`Tree`].
//!
//! No maintainer script runs. What scripts would have done is done here as data, one concern per
//! file, in the order of [`assemble`]: accounts, kernel modules, units, certificates, `/var`.
//! Everything is a function of [`Inputs`]; each inode knows where it came from
//! ([`Inode::origin`](crate::tree::Inode)), which is what `kiln explain` prints.

mod accounts;
mod boot;
mod certificates;
mod draft;
mod firewall;
mod glob;
mod handoff;
mod kubernetes;
pub mod modules;
mod overlay;
mod packages;
mod prune;
mod services;
mod settings;
mod ssh;
mod sysusers;
mod units;
mod var;

use std::{collections::BTreeMap, sync::Arc};

pub use boot::{BootFiles, KernelFiles};
use draft::Draft;
use kiln_contract::path::{OS_RELEASE, TEMPLATES};
use kiln_init::handoff::{Account, Handoff, Phase, Template};
pub use packages::{ControlError, Package};

use crate::{
    diagnostic::{Diagnostic, nearest},
    kubernetes::role::Program,
    pki::delivery::NodeFile,
    plan::Plan,
    tree::{Content, Kind, Origin, PathError, Tree, TreePath},
    workspace::Overlay,
};

/// What kiln-init would be told, as far as the plan alone decides it.
pub fn handoff_of(
    plan: &Plan,
    templates: Vec<Template>,
    accounts: Vec<Account>,
    owners: Vec<Account>,
) -> Handoff {
    handoff::of(plan, templates, accounts, owners)
}

/// Everything a root is made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub plan: &'a Plan,
    /// In any order.
    pub packages: &'a [Package],
    /// Laid over the packages in this order.
    pub overlays: &'a [&'a Overlay],
    /// The kiln-init program.
    pub init: Content,
    /// The files of [`Profile::binaries`](crate::profile::Profile), by their path in the image.
    pub binaries: &'a BTreeMap<TreePath, Content>,
    /// Archives of [`Profile::images`](crate::profile::Profile), by their path in the image.
    pub images: &'a BTreeMap<TreePath, Content>,
    /// Programs of Kubernetes.
    pub programs: &'a [(Program, Content)],
    /// Certificates and keys, which no plan and no manifest shows.
    pub secrets: &'a [NodeFile],
}

/// A role's root, with what the boot chain takes from it.
#[derive(Debug)]
pub struct Root {
    pub tree: Tree,
    /// What kiln-init is told; the tree holds the same.
    pub handoff: Handoff,
    pub kernel: KernelFiles,
    pub boot: BootFiles,
    /// The root's os-release; the UKI carries it too.
    pub os_release: String,
    pub report: Report,
}

impl Root {
    /// What first boot reads in the initramfs beside the hand-off, as it is in the root:
    /// os-release, and the templates that need no network.
    pub fn initrd_texts(&self) -> BTreeMap<TreePath, Content> {
        let templates = self.handoff.templates.iter();
        let early = templates.filter(|template| template.phase == Phase::Initramfs);
        let paths = early.map(|template| format!("{TEMPLATES}{}.j2", template.target));
        let paths = std::iter::once(OS_RELEASE.to_owned()).chain(paths);
        let file = |path: String| {
            let path = TreePath::new(&path).expect("paths of files in the root");
            match self.tree.get(&path).map(|inode| &inode.kind) {
                Some(Kind::File(content)) => (path, content.clone()),
                _ => unreachable!("'{path}' was written as a file"),
            }
        };
        paths.map(file).collect()
    }
}

/// What happened on the way, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries that `prune` took out, and their bytes.
    pub pruned: Pruned,
    /// Kernel modules of the root.
    pub modules: usize,
    /// Certificates of the bundle.
    pub certificates: usize,
}

/// What `prune` took out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub entries: usize,
    pub bytes: u64,
}

/// Makes the root of one role.
///
/// # Errors
/// Inputs contradict one another (two origins for one path, ids taken twice), or name what does
/// not exist (units, modules, accounts).
pub fn assemble(inputs: &Inputs<'_>) -> Result<Root, Error> {
    let plan = inputs.plan;
    let mut draft = Draft::new(plan);
    let mut report = Report::default();
    packages::unpack(&mut draft, inputs.packages)?;
    let (kernel_image, boot) = boot::take(&mut draft, inputs.packages)?;
    report.pruned = prune::prune(&mut draft.tree, &plan.profile.prune)?;

    let mut templates = overlay::lay(&mut draft, inputs)?;
    kubernetes::lay(&mut draft, inputs)?;
    let accounts = accounts::write(&mut draft)?;
    draft.settle_owners()?;
    overlay::settle_owners(&mut templates, &draft.tree);

    let kernel = modules::install(&mut draft, inputs.packages, kernel_image)?;
    report.modules = kernel.module_count;
    let os_release = settings::write(&mut draft)?;
    firewall::write(&mut draft)?;
    report.certificates = certificates::write(&mut draft)?;
    services::write(&mut draft, &inputs.init, &templates)?;
    ssh::write(&mut draft)?;
    units::install(&mut draft)?;
    let handoff = handoff::write(&mut draft, templates, accounts, kernel.early_modules.clone())?;
    var::replace(&mut draft)?;
    Ok(Root { tree: draft.finish(), handoff, kernel, boot, os_release, report })
}

/// Why a root cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Tree(#[from] crate::tree::Error),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("'{path}' is a {first_noun} of {first}, but a {second_noun} of {second}{help}")]
    Conflict {
        path: TreePath,
        first: Origin,
        first_noun: &'static str,
        second: Origin,
        second_noun: &'static str,
        /// The next step, beginning with "; ", or empty.
        help: &'static str,
    },
    #[error("'{path}' of {origin} is a hard link to '{target}', which does not exist")]
    HardLink { path: TreePath, target: TreePath, origin: Origin },
    #[error("reading '{path}' of {origin}")]
    Read {
        path: TreePath,
        origin: Origin,
        #[source]
        source: std::io::Error,
    },
    #[error("'{path}' of {origin} is not UTF-8")]
    NotText { path: TreePath, origin: Origin },
    #[error("overlay '{overlay}': '{path}'")]
    OverlayPath {
        overlay: String,
        path: String,
        #[source]
        source: PathError,
    },
    #[error("{0}")]
    BuildTemplate(Diagnostic),
    #[error("'{template}' of {origin}")]
    BootTemplate {
        template: String,
        origin: Origin,
        #[source]
        source: kiln_init::template::Error,
    },
    #[error("'{path}' of {origin} is made at first boot, which is only possible below /etc")]
    TemplatePlace { path: TreePath, origin: Origin },
    #[error("an add-on puts an image at '{path}', but no archive was given for it")]
    NoImage { path: TreePath },
    #[error("the profile lists '{path}' under 'binaries', but no file was given for it")]
    NoBinary { path: TreePath },
    #[error("pattern '{0}' under 'prune' does not begin with '/'")]
    Pattern(String),
    #[error(transparent)]
    Sysusers(#[from] sysusers::Error),
    #[error(transparent)]
    Account(#[from] accounts::Error),
    #[error(transparent)]
    Unit(#[from] units::Error),
    #[error(transparent)]
    Module(#[from] modules::Error),
    #[error("reading the names of the container images in '{path}'")]
    ImageNames {
        path: TreePath,
        #[source]
        source: crate::formats::oci::Error,
    },
    #[error("packing a container image")]
    Oci(#[from] crate::formats::oci::Error),
    #[error("the packages hold no {what}; it comes with package '{package}'")]
    Missing { what: &'static str, package: &'static str },
}

/// A package's name, shared by all its inodes.
type Name = Arc<str>;

/// "; did you mean 'x'?", or nothing.
fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |near| format!("; did you mean '{near}'?"))
}
