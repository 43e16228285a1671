// SPDX-License-Identifier: Apache-2.0
//! `kiln seed`: writes hosts' metadata media.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::Context;
use crate::{
    cli::{self, SeedFormat},
    cluster,
    diagnostic::{Problems, suggest},
    error::refuse_usage,
    seed::{self, Files},
    sys,
};

pub(super) fn run(context: &Context, args: &cli::Seed) -> Result<()> {
    let workspace = sys::workspace::load(&context.workspace)?;
    let problems = Problems::new();
    let cluster = cluster::load(&workspace, &problems);
    let cluster = problems.finish(cluster)?;
    let names: BTreeSet<&String> =
        if args.all { cluster.hosts.keys().collect() } else { args.hosts.iter().collect() };
    // Every seed is made before the first is written.
    let mut seeds = Vec::new();
    for name in names {
        let files = match seed::files(&cluster, name) {
            Err(error @ seed::Error::UnknownHost { .. }) => {
                let known = cluster.hosts.keys().map(String::as_str);
                return Err(refuse_usage(error, suggest(name, known)));
            }
            result => result.with_context(|| format!("making the seed of '{name}'"))?,
        };
        seeds.push((name, files));
    }
    sys::fs::create_dirs(&args.out)?;
    for (name, files) in seeds {
        let path = write(&args.out, name, &files, args.format)
            .with_context(|| format!("writing the seed of '{name}'"))?;
        println!("{}", path.display());
    }
    Ok(())
}

fn write(out: &Path, name: &str, files: &Files, format: SeedFormat) -> Result<PathBuf> {
    match format {
        SeedFormat::Iso => {
            let path = out.join(format!("{name}.iso"));
            sys::fs::write_atomic(&path, &seed::iso(files)?)?;
            Ok(path)
        }
        SeedFormat::Vfat => {
            let path = out.join(format!("{name}.img"));
            sys::fs::write_atomic(&path, &seed::vfat(files)?)?;
            Ok(path)
        }
        SeedFormat::Dir => {
            let folder = out.join(name);
            sys::fs::create_dirs(&folder)?;
            for (file, data) in files {
                sys::fs::write_atomic(&folder.join(file), data)?;
            }
            Ok(folder)
        }
    }
}
