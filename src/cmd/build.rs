// SPDX-License-Identifier: Apache-2.0
//! `kiln build`: the recipe, from people's files to disks.
//!
//! All roles share one fetch and one unpacking; then each role is built on its own, side by side.
//! Nothing is put in place before every role is whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufWriter, Write as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rayon::prelude::*;
use rcgen::PKCS_RSA_SHA256;

use super::{Context, images, kubernetes};
use crate::{
    boot::{self, esp::EspInputs, initrd::InitrdInputs, uki::UkiParts},
    cli,
    cluster::Delivery,
    debian::deb,
    digest::Digest,
    disk::{
        self,
        forms::{Labels, Live},
        layout::{self, Area, Contents, DiskLayout},
        live,
    },
    error::refuse,
    fetch::{Fetched, Fetcher},
    formats::{gpt, ova::Seal, squashfs, verity},
    lock::{self, Lock, LockedPackage},
    outputs::{self, Manifest},
    pki::{self, delivery::NodeFile, leaves::Scope},
    plan::Plan,
    profile::{OUTPUTS, Output},
    progress::Progress,
    rootfs::{self, Root, modules::Survey},
    store::{BlockCache, Store},
    sys::{self, interrupt, scratch::Scratch},
    tree::{Content, TreePath},
    units::Bytes,
    workspace::Workspace,
};

/// What every role of one build shares.
struct Shared<'a> {
    workspace: &'a Workspace,
    folder: &'a Path,
    lock: &'a Lock,
    packages: BTreeMap<Digest, rootfs::Package>,
    programs: kubernetes::Programs,
    pulled: images::Pulled,
    blocks: BlockCache,
    scratch: &'a Scratch,
    /// What is baked, by role.
    secrets: BTreeMap<String, Vec<NodeFile>>,
    /// Forms of the disks, if not those of the profiles.
    forms: Option<BTreeSet<Output>>,
    /// Who vouches for virtual machines.
    seal: Option<Seal>,
}

impl Shared<'_> {
    /// Refuses to begin what would fill the disk. An image lies twice in the scratch folder while
    /// it is put on its disk, compressed to about a third of what the packages hold.
    fn require_space(&self, plans: &[Plan], out: &Path) -> Result<()> {
        let packages = plans.iter().flat_map(|plan| self.lock.packages_of(&plan.profile.role));
        let needed = packages.map(|locked| self.packages[&locked.sha256].installed_len()).sum();
        sys::space::require(out, Bytes(needed), "the images", "--out DIR")
    }
}

pub(super) fn run(context: &Context, args: &cli::Build) -> Result<()> {
    let (workspace, plans) = super::load(context, &args.roles)?;
    images::check(&context.workspace, &plans)?;
    let seal = seal(args)?;
    let progress = Progress::new(context.quiet);
    let secrets = secrets(context, &plans, &progress)?;
    let lock = lock::file::read_matching(&context.workspace, &plans)?;
    let store = context.store()?;

    let mirror = plans.first().and_then(|plan| plan.cluster.mirror.as_deref());
    let fetcher = Fetcher::new(&args.network, mirror, store.clone(), progress.clone())?;
    let roles = plans.iter().map(|plan| plan.profile.role.clone()).collect();
    kubernetes::check_companions(&plans, &lock, &progress)?;
    let fetched = fetcher.packages(&lock, &roles)?;
    let programs = kubernetes::programs(&context.workspace, &fetcher, &plans, &lock)?;

    let pulled = images::pull(&fetcher, &plans, &lock)?;

    let out = context.workspace.join(&args.out);
    let scratch = Scratch::inside(&out)?;
    progress.say(format!("unpacking {} packages", fetched.len()));
    let shared = Shared {
        workspace: &workspace,
        folder: &context.workspace,
        lock: &lock,
        packages: unpack(&store, &fetched)?,
        programs,
        pulled,
        blocks: store.blocks()?,
        scratch: &scratch,
        secrets,
        forms: (!args.format.is_empty()).then(|| forms(&args.format)),
        seal,
    };
    shared.require_space(&plans, &out)?;
    let manifests: Vec<Manifest> = plans
        .par_iter()
        .map(|plan| {
            let role = &plan.profile.role;
            progress.say(format!("building '{role}'"));
            build(&shared, plan).with_context(|| format!("building '{role}'"))
        })
        .collect::<Result<_>>()?;
    interrupt::check()?;
    for manifest in &manifests {
        let folder = out.join(&manifest.role);
        outputs::publish(&scratch.path().join(&manifest.role), &folder)?;
        for output in &manifest.outputs {
            let (file, size) = (folder.join(&output.file), Bytes(output.size));
            progress.say(format!("built '{}' ({size}, {})", file.display(), output.sha256.short()));
        }
        if plans.iter().any(|plan| plan.cluster.kubernetes.is_some()) {
            progress.say(format!("'{}' secrets: {} files", manifest.role, manifest.secrets.len()));
        }
    }
    if args.json {
        let json = serde_json::to_string_pretty(&manifests).context("encoding the manifests")?;
        super::print(&(json + "\n"))?;
    }
    Ok(())
}

/// Forms by their words, of which there are no others.
fn forms(words: &[String]) -> BTreeSet<Output> {
    let is_wanted = |word: &str| words.iter().any(|wanted| wanted == word);
    OUTPUTS.into_iter().filter(|(word, _)| is_wanted(word)).map(|(_, form)| form).collect()
}

/// Whose name virtual machines bear.
fn seal(args: &cli::Build) -> Result<Option<Seal>> {
    let (Some(certificate), Some(key)) = (&args.ova_certificate, &args.ova_key) else {
        return Ok(None);
    };
    let task = || format!("reading '{}' and '{}'", certificate.display(), key.display());
    let (pem, secret) = (sys::fs::read(certificate)?, sys::fs::read(key)?);
    let read = pki::read::first(&certificate.display().to_string(), &pem).with_context(task)?;
    let key = pki::read::key(&key.display().to_string(), &secret).with_context(task)?;
    if !key.is_compatible(&PKCS_RSA_SHA256) {
        let help = "OVF's importers check signatures by RSA: take such a key";
        return Err(refuse("the key is not one of RSA", help)).with_context(task);
    }
    if !read.belongs_to(&key) {
        let help = "give the key that the certificate was issued for";
        return Err(refuse("the certificate is another key's", help)).with_context(task);
    }
    let certificate = String::from_utf8(pem).with_context(task)?;
    Ok(Some(Seal { certificate, key }))
}

/// The certificates and keys that images carry, by role.
fn secrets(
    context: &Context,
    plans: &[Plan],
    progress: &Progress,
) -> Result<BTreeMap<String, Vec<NodeFile>>> {
    let Some(first) = plans.first() else { return Ok(BTreeMap::new()) };
    let secrets = kubernetes::Secrets::read(&context.workspace, &first.cluster, Delivery::Baked)?;
    let take = |plan: &Plan| {
        let scope = Scope::Role(plan.profile.role.clone());
        let (files, warnings) = secrets
            .of(&plan.cluster, &scope)
            .with_context(|| format!("taking the certificates and keys of {scope}"))?;
        for warning in warnings {
            progress.say(format!("warning: {warning}"));
        }
        Ok((plan.profile.role.clone(), files))
    };
    plans.iter().map(take).collect()
}

/// Packages as data, by the digest of their `.deb`.
fn unpack(store: &Store, fetched: &[Fetched]) -> Result<BTreeMap<Digest, rootfs::Package>> {
    let unpack = |fetched: &Fetched| {
        interrupt::check()?;
        let locked = fetched.locked();
        let task = || format!("unpacking '{}'", locked.file_name());
        let unpacked = store.unpacked(fetched)?;
        let entries = deb::entries(unpacked.source, unpacked.len).with_context(task)?;
        let control = deb::control(fetched.open()?).with_context(task)?;
        let mut package = rootfs::Package::new(entries, &control).with_context(task)?;
        package.modules = survey(store, locked, &package.entries).with_context(task)?;
        Ok((locked.sha256, package))
    };
    fetched.par_iter().map(unpack).collect()
}

/// What a package's kernel modules say; read once per package, because it takes long.
fn survey(
    store: &Store,
    package: &LockedPackage,
    entries: &[deb::Entry],
) -> Result<Option<Arc<Survey>>> {
    if !entries.iter().any(|entry| entry.path.as_str().contains("/modules/")) {
        return Ok(None);
    }
    let json = store
        .derived("modules", &package.sha256, || Ok(serde_json::to_vec(&Survey::of(entries)?)?))?;
    let survey: Option<Survey> = serde_json::from_slice(&json)?;
    Ok(survey.map(Arc::new))
}

/// One role, from packages to a finished folder of results.
fn build(shared: &Shared<'_>, plan: &Plan) -> Result<Manifest> {
    let folder = shared.scratch.path().join(&plan.profile.role);
    sys::fs::create_dirs(&folder)?;
    let name = format!("{}-{}", plan.cluster.name, plan.profile.role);

    let secrets = &shared.secrets[&plan.profile.role];
    let root = assemble(shared, plan, secrets)?;
    let (image, n_bytes) = write_root(shared, plan, &root, &folder.join("root"))?;
    let (tree, verified) = write_verity(plan, &image, &folder.join("verity"))?;
    interrupt::check()?;

    let command_line = boot::command_line(&plan.profile.kernel.arguments, &verified.root_hash);
    let microcode = root.boot.microcode.archive(plan.epoch).context("collecting the microcode")?;
    let initrd = initrd(plan, &root)?;
    let stub = root.boot.stub.to_vec()?;
    let kernel = root.kernel.image.to_vec()?;
    let uki_parts = UkiParts {
        osrel: &root.os_release,
        cmdline: &command_line,
        uname: &root.kernel.release,
        initrd: &initrd,
        linux: &kernel,
        ucode: microcode.as_deref(),
    };
    let uki = boot::uki::build(&stub, &uki_parts).context("linking the unified kernel image")?;
    let layout = lay_out(plan, &name, image.len(), &verified)?;
    let mut parts = firmware_parts(plan, &root, &layout, &uki, &command_line)?;
    parts.extend([(Area::Root, image), (Area::Verity, tree)]);
    let volume = disk::write::volume(&layout, &parts)?;
    let labels = Labels {
        name: &name,
        version: &plan.cluster.version,
        digest: &plan.digest,
        epoch: plan.epoch,
        machine: plan.profile.machine,
        seal: shared.seal.as_ref(),
    };
    let forms = shared.forms.as_ref().unwrap_or(&plan.profile.outputs);
    let guid = plan.digest.uuid("live medium");
    let live = live::Parts { disk: &volume, layout: &layout, parts: &parts, guid };
    let live = Live { stub: &stub, uki: uki_parts, parts: live };
    let files = disk::forms::write(&volume, forms, &labels, Some(&live), &folder)?;
    for part in ["root", "verity"] {
        sys::fs::remove(&folder.join(part))?;
    }
    interrupt::check()?;

    let sizes = [
        ("root", n_bytes),
        ("verity", verified.bytes),
        ("initrd", initrd.len() as u64),
        ("uki", uki.len() as u64),
        ("kiln-init", crate::KILN_INIT.len() as u64),
    ];
    let microcode = microcode.as_ref().map(|archive| ("microcode", archive.len() as u64));
    let sizes = sizes.into_iter().chain(microcode);
    let manifest = Manifest {
        schema: outputs::MANIFEST_SCHEMA,
        cluster: plan.cluster.name.clone(),
        role: plan.profile.role.clone(),
        version: plan.cluster.version.clone(),
        kiln: env!("CARGO_PKG_VERSION").to_owned(),
        kiln_init: Digest::of(crate::KILN_INIT),
        plan: plan.digest,
        epoch: plan.epoch,
        kernel: root.kernel.release.clone(),
        root_hash: verified.root_hash,
        command_line,
        partitions: outputs::partitions(&layout),
        outputs: files
            .iter()
            .map(|file| outputs::describe(&folder, file))
            .collect::<Result<_>>()?,
        packages: shared.lock.packages_of(&plan.profile.role).map(Into::into).collect(),
        overlays: plan.profile.overlays.clone(),
        images: images::digests(plan, shared.lock),
        secrets: outputs::secrets(secrets),
        absent: outputs::absent(&plan.cluster),
        sizes: sizes.map(|(part, size)| (part.to_owned(), size)).collect(),
    };
    outputs::finish(&folder, &manifest)?;
    Ok(manifest)
}

fn assemble(shared: &Shared<'_>, plan: &Plan, secrets: &[NodeFile]) -> Result<Root> {
    let packages: Vec<rootfs::Package> = shared
        .lock
        .packages_of(&plan.profile.role)
        .map(|locked| shared.packages[&locked.sha256].clone())
        .collect();
    let binaries: BTreeMap<TreePath, Content> = plan
        .profile
        .binaries
        .iter()
        .map(|(path, binary)| {
            let source = shared.folder.join(&binary.source);
            Ok((path.clone(), sys::fs::pinned(&source, &binary.sha256)?))
        })
        .collect::<Result<_>>()?;
    let none = Vec::new();
    rootfs::assemble(&rootfs::Inputs {
        plan,
        packages: &packages,
        overlays: &shared.workspace.overlays_of(&plan.profile),
        init: Content::bytes(crate::KILN_INIT),
        binaries: &binaries,
        images: &images::archives(plan, &shared.pulled),
        programs: shared.programs.get(&plan.profile.role).unwrap_or(&none),
        secrets,
    })
    .context("assembling the root")
}

/// The root as squashfs, in a scratch file; also the size of the file system without padding.
fn write_root(
    shared: &Shared<'_>,
    plan: &Plan,
    root: &Root,
    path: &Path,
) -> Result<(Content, u64)> {
    let mut file = BufWriter::with_capacity(1 << 20, sys::fs::create(path)?);
    let options = squashfs::Options::new(plan.epoch);
    let summary = squashfs::write(&root.tree, &options, &shared.blocks, &mut file)
        .map_err(explain_space)
        .context("writing the root file system")?;
    file.flush().with_context(|| format!("writing '{}'", path.display()))?;
    Ok((sys::fs::content(path)?, summary.bytes_used))
}

fn write_verity(plan: &Plan, image: &Content, path: &Path) -> Result<(Content, verity::Verity)> {
    let mut file = BufWriter::with_capacity(1 << 20, sys::fs::create(path)?);
    let params = verity::Params {
        salt: *plan.digest.derive("verity salt").as_bytes(),
        uuid: plan.digest.uuid("verity"),
    };
    let verified = verity::write(image, &params, &mut file).context("hashing the root")?;
    file.flush().with_context(|| format!("writing '{}'", path.display()))?;
    Ok((sys::fs::content(path)?, verified))
}

fn initrd(plan: &Plan, root: &Root) -> Result<Vec<u8>> {
    let handoff = serde_json::to_vec(&root.handoff).context("encoding the hand-off")?;
    let inputs = InitrdInputs {
        init: crate::KILN_INIT,
        handoff_json: &handoff,
        modules: &root.kernel.initrd_files(),
        firmware: &root.kernel.initrd_firmware,
        texts: &root.initrd_texts(),
        epoch: plan.epoch,
    };
    boot::initrd::build(&inputs).context("making the initramfs")
}

/// What firmware starts: the ESP with the UKI, and GRUB if the disk has a place for it.
fn firmware_parts(
    plan: &Plan,
    root: &Root,
    layout: &DiskLayout,
    uki: &[u8],
    command_line: &str,
) -> Result<Vec<(Area, Content)>> {
    let name = format!("{}-{}", plan.cluster.name, plan.profile.role);
    let uki_name = boot::esp::uki_name(&name, &plan.cluster.version);
    let mut parts = Vec::new();
    let mut config = None;
    if let Some(place) = layout.find(Area::BiosBoot) {
        let task = "installing GRUB for legacy firmware";
        let first_lba = place.offset / gpt::BLOCK;
        let programs = boot::bios::programs(&root.boot.grub, first_lba).context(task)?;
        parts.push((Area::ProtectiveMbr, programs.boot_code));
        parts.push((Area::BiosBoot, programs.core));
        config = Some(boot::bios::config(&uki_name, uki, command_line).context(task)?);
    }
    let esp = boot::esp::build(&EspInputs {
        len: plan.profile.disk.esp.get(),
        digest: &plan.digest,
        epoch: plan.epoch,
        loader: &root.boot.loader.to_vec()?,
        uki_name: &uki_name,
        uki,
        grub: config.as_deref(),
    })
    .context("making the EFI system partition")?;
    parts.push((Area::Esp, esp.into()));
    Ok(parts)
}

fn lay_out(plan: &Plan, name: &str, root_len: u64, verity: &verity::Verity) -> Result<DiskLayout> {
    let contents = Contents {
        name,
        version: &plan.cluster.version,
        root_len,
        verity_len: verity.bytes,
        root_hash: &verity.root_hash,
        plan: &plan.digest,
        bios: plan.profile.boot.bios,
    };
    layout::lay_out(&plan.profile.disk, &contents)
        .map_err(|error| match error.help() {
            Some(help) => refuse(&error, help),
            None => error.into(),
        })
        .context("laying out the disk")
}

/// A full disk is said in words that help.
fn explain_space(error: squashfs::Error) -> anyhow::Error {
    match &error {
        squashfs::Error::Write(source) if source.kind() == io::ErrorKind::StorageFull => {
            refuse(&error, "free some space, or name another folder with --out")
        }
        _ => error.into(),
    }
}
