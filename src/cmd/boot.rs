// SPDX-License-Identifier: Apache-2.0
//! `kiln boot`: an image in a virtual machine, as one host of the cluster.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{Context, kubernetes::Secrets};
use crate::{
    cli,
    cluster::{self, Cluster, Delivery},
    diagnostic::Problems,
    error::{refuse, refuse_usage},
    formats::gpt,
    qemu::{self, Acceleration, Changes, Host, Machine, Network, Spec},
    seed, sys,
};

/// A person who watches a machine ends it; this only bounds a forgotten one.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn run(context: &Context, args: &cli::Boot) -> Result<()> {
    let workspace = sys::workspace::load(&context.workspace)?;
    let problems = Problems::new();
    let cluster = cluster::load(&workspace, &problems);
    let cluster = problems.finish(cluster)?;
    let name = host_name(&cluster, args)?;
    let host = Host::find()?;
    let scratch =
        tempfile::Builder::new().prefix("kiln-boot-").tempdir().context("making scratch space")?;
    let medium = scratch.path().join("seed.iso");
    let secrets = Secrets::read(&context.workspace, &cluster, Delivery::Seed)?;
    let files = super::seed::of_host(&secrets, &cluster, &name)?;
    sys::fs::write_private(&medium, &seed::iso(&files)?)?;
    let image = image(context, &cluster, args)?;
    let spec = spec(&cluster, &name, image, medium, args)?;

    let mut machine = Machine::start(&host, &spec)?;
    if !context.quiet {
        let how = match machine.acceleration {
            Acceleration::Kvm => "KVM",
            Acceleration::Tcg => "emulation: KVM does not work here",
        };
        eprintln!("booting '{}' as '{name}' ({how})", args.role);
        machine.echo();
    }
    if args.until_ready {
        let ready = machine.wait_ready(Duration::from_secs(args.timeout.into()))?;
        println!(
            "'{}' is ready as '{}' at {}/{} after {:.1} s",
            ready.role, ready.hostname, ready.address, ready.prefix, ready.boot
        );
    } else {
        machine.wait_end(A_DAY)?;
    }
    Ok(())
}

/// The host that is asked for, or the role's first.
fn host_name(cluster: &Cluster, args: &cli::Boot) -> Result<String> {
    let names: Vec<&str> = cluster.hosts_of(&args.role).map(|(name, _)| name).collect();
    let Some(first) = names.first() else {
        let roles: Vec<&str> = cluster.roles().into_iter().collect();
        return Err(refuse_usage(
            format_args!("no host of cluster.yaml has the role '{}'", args.role),
            format_args!("roles with hosts: {}", roles.join(", ")),
        ));
    };
    match &args.host {
        None => Ok((*first).to_owned()),
        Some(name) if names.contains(&name.as_str()) => Ok(name.clone()),
        Some(name) => Err(refuse_usage(
            format_args!("cluster.yaml has no host '{name}' of role '{}'", args.role),
            format_args!("hosts of this role: {}", names.join(", ")),
        )),
    }
}

/// The built image, or the changes to it that are kept.
fn image(context: &Context, cluster: &Cluster, args: &cli::Boot) -> Result<(PathBuf, Changes)> {
    let out = context.workspace.join(&args.out);
    let image = out.join(&args.role).join(format!("{}-{}.raw", cluster.name, args.role));
    if !image.is_file() {
        return Err(refuse(
            format_args!("there is no image '{}'", image.display()),
            format_args!("build it: kiln build {}", args.role),
        ));
    }
    if args.bios && !boots_by_bios(&image)? {
        return Err(refuse(
            format_args!("'{}' does not boot by legacy BIOS", image.display()),
            "write 'boot: { bios: true }' in the profile and build it again, or boot it by UEFI",
        ));
    }
    let Some(keep) = &args.keep else { return Ok((image, Changes::Drop)) };
    if !sys::fs::exists(keep) {
        qemu::create_overlay(&image, keep)?;
    }
    Ok((keep.clone(), Changes::Keep))
}

/// Whether there is a program in an image's first block.
fn boots_by_bios(image: &Path) -> Result<bool> {
    let mut code = [0; gpt::BOOT_CODE];
    let task = || format!("reading '{}'", image.display());
    sys::fs::content(image)?.read_exact_at(&mut code, 0).with_context(task)?;
    Ok(code.iter().any(|&byte| byte != 0))
}

fn spec(
    cluster: &Cluster,
    name: &str,
    (disk, changes): (PathBuf, Changes),
    seed: PathBuf,
    args: &cli::Boot,
) -> Result<Spec> {
    let host = cluster.hosts.get(name).context("a host of the cluster")?;
    Ok(Spec {
        changes,
        bios: args.bios,
        seed: Some(seed),
        memory: args.memory,
        cpus: args.cpus,
        network: Network::User {
            net: cluster.networks.hosts.to_string(),
            gateway: cluster.networks.gateway.map(|gateway| gateway.to_string()),
        },
        mac: host.mac.clone(),
        ..Spec::new(&disk)
    })
}
