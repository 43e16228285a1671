// SPDX-License-Identifier: Apache-2.0
//! `kiln seed`: writes hosts' metadata media.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{Context, kubernetes::Secrets};
use crate::{
    cli::{self, SeedFormat},
    cluster::{self, Cluster, Delivery, Host},
    diagnostic::{Problems, suggest},
    error::refuse_usage,
    kubernetes::secrets::of_host as secrets_of,
    pki::leaves::Scope,
    seed::{self, Files, forms},
    sys,
};

pub(super) fn run(context: &Context, args: &cli::Seed) -> Result<()> {
    let workspace = sys::workspace::load(&context.workspace)?;
    let problems = Problems::new();
    let cluster = cluster::load(&workspace, &problems);
    let cluster = problems.finish(cluster)?;
    let names: BTreeSet<&String> =
        if args.all { cluster.hosts.keys().collect() } else { args.hosts.iter().collect() };
    if let Some(name) = names.iter().find(|name| !cluster.hosts.contains_key(**name)) {
        let known = cluster.hosts.keys().map(String::as_str);
        let error = seed::Error::UnknownHost { name: (*name).clone() };
        return Err(refuse_usage(error, suggest(name, known)));
    }
    let secrets = Secrets::read(&context.workspace, &cluster, Delivery::Seed)?;
    // Every seed is made before the first is written.
    let mut seeds = Vec::new();
    for name in names {
        let task = || format!("making the seed of '{name}'");
        seeds.push((name, of_host(&secrets, &cluster, name).with_context(task)?));
    }
    sys::fs::create_dirs(&args.out)?;
    let put = match seed::are_secrets(&cluster) {
        true => sys::fs::write_private,
        false => sys::fs::write_atomic,
    };
    for (name, files) in &seeds {
        let host = &cluster.hosts[*name];
        let paths = write(&args.out, (name, host), files, args.format, put)
            .with_context(|| format!("writing the seed of '{name}'"))?;
        paths.iter().for_each(|path| println!("{}", path.display()));
    }
    let has_keys = |name: &String| !secrets_of(&cluster, name).is_empty();
    if seed::are_secrets(&cluster) && seeds.iter().any(|(name, _)| has_keys(name)) {
        eprintln!("warning: seeds hold the keys of their hosts: keep them as you keep 'pki/'");
    }
    Ok(())
}

/// A host's seed, with its keys if they come by it.
pub(super) fn of_host(secrets: &Secrets, cluster: &Cluster, name: &str) -> Result<Files> {
    let (given, warnings) = secrets.of(cluster, &Scope::Host(name.to_owned()))?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    Ok(seed::files_with(cluster, name, &given)?)
}

/// Writes a file whole.
type Put = fn(&Path, &[u8]) -> Result<()>;

fn write(
    out: &Path,
    (name, host): (&str, &Host),
    files: &Files,
    format: SeedFormat,
    put: Put,
) -> Result<Vec<PathBuf>> {
    let folder = |name: &str, files: &Files| {
        let folder = out.join(name);
        sys::fs::create_dirs(&folder)?;
        for (file, data) in files {
            put(&folder.join(file), data)?;
        }
        Ok(folder)
    };
    match format {
        SeedFormat::Iso => {
            let path = out.join(format!("{name}.iso"));
            put(&path, &seed::iso(files)?)?;
            Ok(vec![path])
        }
        SeedFormat::Vfat => {
            let path = out.join(format!("{name}.img"));
            put(&path, &seed::vfat(files)?)?;
            Ok(vec![path])
        }
        SeedFormat::Dir => Ok(vec![folder(name, files)?]),
        SeedFormat::Guestinfo => Ok(vec![folder(name, &forms::guestinfo(name, files)?)?]),
        SeedFormat::Ova => Ok(vec![folder(name, &forms::ova(name, files)?)?]),
        SeedFormat::Qemu => Ok(vec![folder(name, &forms::qemu(files))?]),
        SeedFormat::Http => {
            let files = forms::http(files);
            let folders: Vec<String> = forms::folders_of(host).collect();
            if folders.is_empty() {
                return Err(refuse_usage(
                    format!("'{name}' has neither 'mac' nor 'uuid' in cluster.yaml"),
                    "a server tells hosts from one another by it: write it down",
                ));
            }
            folders.iter().map(|name| folder(name, &files)).collect()
        }
        SeedFormat::ConfigDrive => {
            let path = out.join(format!("{name}.config-2.img"));
            put(&path, &seed::config_drive(name, files)?)?;
            Ok(vec![path])
        }
    }
}
