// SPDX-License-Identifier: Apache-2.0
//! One disk in every form that is asked for.
//!
//! All of them are written out of the same [`Volume`], so they hold the same bytes; which of them
//! are made changes none of these.
use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{live, write};
use crate::{
    boot::{
        netboot,
        uki::{self, UkiParts},
    },
    digest::Digest,
    formats::{bmap, iso, ova, qcow2, vhd, vhdx, vmdk, volume::Volume, zst},
    profile::{Machine, Output},
    sys,
    tree::Content,
};

/// Bytes on their way to a file.
const BUFFER: usize = 1 << 20;

/// What the forms say of a disk beside its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// Cluster and role; the files' name without its ending.
    pub name: &'a str,
    pub version: &'a str,
    /// Of the plan: identities are made of it.
    pub digest: &'a Digest,
    /// Seconds since 1970.
    pub epoch: u32,
    /// What a virtual machine with this disk is given.
    pub machine: Machine,
    /// Who vouches for such a machine.
    pub seal: Option<&'a ova::Seal>,
}

/// What live media are made of.
#[derive(Debug)]
pub struct Live<'a> {
    pub stub: &'a [u8],
    pub uki: UkiParts<'a>,
    pub parts: live::Parts<'a>,
}

/// Writes `volume` into `folder` in these forms; the names of the files, sorted.
///
/// # Errors
/// The volume cannot be read, or a file not be written.
pub fn write(
    volume: &Volume,
    forms: &BTreeSet<Output>,
    labels: &Labels<'_>,
    live: Option<&Live<'_>>,
    folder: &Path,
) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for form in forms {
        let file = format!("{}.{}", labels.name, form.ending());
        let out = folder.join(&file);
        let task = || format!("writing '{file}'");
        match form {
            Output::Raw => write::raw(volume, &out)?,
            Output::Qcow2 => {
                to_file(&out, |out| qcow2::write(volume, qcow2::Compression::None, out))
                    .with_context(task)?
            }
            Output::Qcow2Zstd => {
                to_file(&out, |out| qcow2::write(volume, qcow2::Compression::Zstd, out))
                    .with_context(task)?;
            }
            Output::Vmdk => {
                to_file(&out, |out| vmdk::write(volume, &file, labels.digest, out))
                    .with_context(task)?;
            }
            Output::Ova => machine(volume, labels, &out).with_context(task)?,
            Output::Vhd => {
                write::raw(volume, &out)?;
                append(&out, &vhd::footer(volume.len(), labels.digest, labels.epoch))
                    .with_context(task)?;
            }
            Output::Vhdx => {
                to_file(&out, |out| vhdx::write(volume, labels.digest, out)).with_context(task)?
            }
            Output::RawZst => {
                to_file(&out, |out| zst::write(volume, out)).with_context(task)?;
                let map = format!("{}.raw.bmap", labels.name);
                let text = bmap::of(volume).with_context(|| format!("writing '{map}'"))?;
                sys::fs::write_atomic(&folder.join(&map), text.as_bytes())?;
                files.push(map);
            }
            Output::Iso => {
                let live = live.context("nothing to boot was given")?;
                let volume = iso::Volume { label: disc_label(labels.name), mtime: labels.epoch };
                let disc = live::disc(&live.parts, &volume).with_context(task)?;
                write::raw(&disc, &out)?;
            }
            Output::Netboot => {
                let live = live.context("nothing to boot was given")?;
                files.extend(boot_files(live, labels, folder)?);
            }
        }
        files.push(file);
    }
    files.sort();
    Ok(files)
}

/// Everything for netboot but the one EFI program, which is written last; the names.
fn boot_files(live: &Live<'_>, labels: &Labels<'_>, folder: &Path) -> Result<[String; 4]> {
    let name = labels.name;
    let disk = live::in_memory(&live.parts)?;
    let disk = netboot::disk(&disk.into(), labels.epoch)?;
    let command_line = live.uki.cmdline;
    let files = ["disk", "initrd", "ipxe", "vmlinuz"].map(|ending| format!("{name}.{ending}"));
    let put = |file: &String, content: &Content| {
        to_file(&folder.join(file), |out| content.copy_to(out))
            .with_context(|| format!("writing '{file}'"))
    };
    put(&files[0], &disk)?;
    let initrd = netboot::initrd(live.uki.ucode, live.uki.initrd);
    put(&files[1], &initrd)?;
    put(&files[2], &Content::bytes(netboot::script(name, command_line).into_bytes()))?;
    put(&files[3], &Content::bytes(live.uki.linux))?;
    let initrd = netboot::joined(live.uki.initrd, &disk).to_vec().context("reading the root")?;
    let parts = UkiParts { initrd: &initrd, ..live.uki };
    let program = uki::build(live.stub, &parts).context("linking the program for HTTP boot")?;
    put(&format!("{name}.{}", Output::Netboot.ending()), &Content::bytes(program))?;
    Ok(files)
}

/// A disc's label says cluster and role as far as it can.
fn disc_label(name: &str) -> String {
    let fitting = |byte: u8| if byte.is_ascii_alphanumeric() { byte as char } else { '_' };
    name.bytes().map(fitting).take(16).collect::<String>().to_ascii_uppercase()
}

/// A virtual machine with the disk inside. The disk lies beside it meanwhile, because its size stands
/// before it.
fn machine(volume: &Volume, labels: &Labels<'_>, out: &Path) -> Result<()> {
    let vmdk = format!("{}.vmdk", labels.name);
    let scratch = out.with_extension("ova.vmdk");
    to_file(&scratch, |out| vmdk::write(volume, &vmdk, labels.digest, out))?;
    let disk = sys::fs::content(&scratch)?;
    let machine = ova::Machine {
        name: labels.name,
        product: labels.name,
        version: labels.version,
        n_cpus: labels.machine.cpus,
        memory: labels.machine.memory.get() >> 20,
        capacity: volume.len(),
        disk: &disk,
        disk_digest: sys::fs::digest(&disk)?,
    };
    let archive = ova::archive(&machine, labels.seal).context("signing the machine")?;
    to_file(out, |out| archive.copy_to(out))?;
    sys::fs::remove(&scratch)
}

fn to_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<fs::File>) -> io::Result<()>,
) -> Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, sys::fs::create(path)?);
    write(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(file.sync_all()?)
}

fn append(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = sys::fs::open_to_continue(path)?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}
