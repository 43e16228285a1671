// SPDX-License-Identifier: Apache-2.0
//! `kiln flash`: puts an image on a disk.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{Context, kubernetes::Secrets, seed::of_host};
use crate::{
    cli,
    cluster::{self, Delivery},
    diagnostic::{Problems, suggest},
    digest::Digest,
    error::{refuse, refuse_usage},
    flash::{self, Image, lost, target::Target},
    progress::Progress,
    seed, sys,
    tree::Content,
    units::Bytes,
};

/// What a person types to go on.
const YES: &str = "yes";

pub(super) fn run(context: &Context, args: &cli::Flash) -> Result<()> {
    let content = sys::fs::content(&args.image)?;
    let seed = args.host.as_deref().map(|host| seed_of(context, host)).transpose()?;
    let target = Target::open(&args.device, content.len())?;
    confirm(&target, args.yes).with_context(|| format!("flashing '{}'", target.path.display()))?;
    let image = Image { content: &content, digest: digest(&args.image)?, seed: seed.as_ref() };
    let progress = Progress::new(context.quiet);
    flash::flash(&image, &target, &progress)
        .with_context(|| format!("flashing '{}'", target.path.display()))?;
    progress.say(format!("'{}' is ready to boot", target.path.display()));
    Ok(())
}

/// A host's metadata as a volume.
fn seed_of(context: &Context, name: &str) -> Result<Content> {
    let workspace = sys::workspace::load(&context.workspace)?;
    let problems = Problems::new();
    let cluster = cluster::load(&workspace, &problems);
    let cluster = problems.finish(cluster)?;
    if !cluster.hosts.contains_key(name) {
        let error = seed::Error::UnknownHost { name: name.to_owned() };
        return Err(refuse_usage(error, suggest(name, cluster.hosts.keys().map(String::as_str))));
    }
    let secrets = Secrets::read(&context.workspace, &cluster, Delivery::Seed)?;
    let files = of_host(&secrets, &cluster, name)
        .with_context(|| format!("making the seed of '{name}'"))?;
    Ok(Content::bytes(seed::vfat(&files)?))
}

/// What `SHA256SUMS` beside an image says of it.
fn digest(image: &Path) -> Result<Option<Digest>> {
    let sums = sys::fs::read_text_if_present(&image.with_file_name("SHA256SUMS"))?;
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let of_image = |line: &str| {
        let (digest, file) = line.split_once("  ")?;
        (file == name).then(|| digest.parse().ok())?
    };
    Ok(sums.and_then(|sums| sums.lines().find_map(of_image)))
}

/// Says what would be lost, and asks.
fn confirm(target: &Target, yes: bool) -> Result<()> {
    let model = target.model.as_ref().map(|model| format!(", {model}")).unwrap_or_default();
    eprintln!("{}: {}{model}", target.path.display(), Bytes(target.len));
    let lost = lost::of(target)?;
    match lost.is_empty() {
        true => eprintln!("  nothing is on it"),
        false => lost.iter().for_each(|what| eprintln!("  will be lost: {what}")),
    }
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(refuse("nobody is there to agree", "say so with --yes"));
    }
    eprint!("Write the image over it? Type '{YES}' to go on: ");
    io::stderr().flush().context("asking")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("asking")?;
    if answer.trim() == YES { Ok(()) } else { Err(refuse("not agreed", "nothing was changed")) }
}
