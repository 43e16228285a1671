// SPDX-License-Identifier: Apache-2.0
//! `kiln serve`: images and metadata for machines that boot by network, and a page that shows them.

use std::{collections::BTreeMap, io::Write as _, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};

use super::{Context, kubernetes::Secrets, seed::of_host};
use crate::{
    cli::{self, ServeKeys},
    cluster::{self, Cluster, Delivery},
    diagnostic::Problems,
    error::{refuse, refuse_usage},
    names,
    progress::Progress,
    seed::Files,
    serve::{self, Base, Certificate, Hosts, Images, Keys, Limits, Secrecy, Settings, config},
    sys,
};

/// Where nginx reaches the page, in the configuration that is written.
const PAGE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
/// Where Debian's package has iPXE.
const IPXE: &str = "/usr/lib/ipxe";

pub(super) fn run(context: &Context, args: &cli::Serve) -> Result<()> {
    let workspace = sys::workspace::load(&context.workspace)?;
    let problems = Problems::new();
    let cluster = cluster::load(&workspace, &problems);
    let cluster = problems.finish(cluster)?;
    if let Some(name) = &args.name {
        check_name(name)?;
    }
    let keys = keys(args);
    let task = || format!("serving '{}'", cluster.name);
    let seeds = seeds(context, args, &cluster, keys).with_context(task)?;
    let hosts = Hosts::new(&cluster, seeds);
    let out = context.workspace.join(&args.out);
    if let Some(folder) = &args.write_config {
        return write(args, &cluster, &hosts, &out, folder).with_context(task);
    }
    let https = match (&args.tls_cert, &args.tls_key) {
        (Some(chain), Some(key)) => {
            let certificate =
                Certificate { chain: sys::fs::read(chain)?, key: sys::fs::read(key)? };
            Some((args.tls_listen, certificate))
        }
        _ => None,
    };
    if https.is_none() && (keys.metadata || keys.images == Secrecy::Https) {
        return Err(refuse_usage(
            "private keys are served over HTTPS, and there is none",
            "name a certificate and its key with --tls-cert FILE and --tls-key FILE",
        ))
        .with_context(task);
    }
    let settings = Settings {
        cluster: cluster.clone(),
        hosts,
        out,
        keys,
        name: args.name.clone(),
        http: args.listen,
        https,
        tftp: args.tftp_root.clone().map(|folder| (folder, args.tftp_listen)),
        limits: Limits { connections: args.max_connections, of_one: args.max_connections_of_one },
    };
    let progress = Progress::new(context.quiet);
    serve::run(settings, progress, |addresses| {
        let lines: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        // Nobody is left to tell if stdout is gone.
        let _ = std::io::stdout().write_all(lines.as_bytes());
        let _ = std::io::stdout().flush();
    })
    .with_context(task)
}

fn check_name(name: &str) -> Result<()> {
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    match is_address || names::domain(name).is_ok() {
        true => Ok(()),
        false => Err(refuse_usage(
            format!("'{name}' is neither a name nor an address"),
            "--name takes what stands between http:// and the port",
        )),
    }
}

fn keys(args: &cli::Serve) -> Keys {
    let has = |what| args.serve_keys.contains(&what);
    Keys {
        images: match (has(ServeKeys::Images), has(ServeKeys::ImagesOverHttp)) {
            (_, true) => Secrecy::Http,
            (true, false) => Secrecy::Https,
            (false, false) => Secrecy::Never,
        },
        metadata: has(ServeKeys::Metadata),
    }
}

/// Every host's documents, unless none are served.
fn seeds(
    context: &Context,
    args: &cli::Serve,
    cluster: &Cluster,
    keys: Keys,
) -> Result<BTreeMap<String, Files>> {
    if args.no_metadata {
        return Ok(BTreeMap::new());
    }
    if let [first, rest @ ..] = &serve::with_keys(cluster)[..]
        && !keys.metadata
    {
        let others = match rest.len() {
            0 => String::new(),
            n => format!(" and of {n} others"),
        };
        return Err(refuse(
            format!("the metadata of '{first}'{others} hold private keys"),
            "'--no-metadata' serves images alone, for hosts whose metadata come on a medium; \
             '--serve-keys metadata' gives keys over HTTPS to whoever asks by a host's MAC address",
        ));
    }
    let secrets = Secrets::read(&context.workspace, cluster, Delivery::Seed)?;
    let seed = |name: &String| {
        let task = || format!("making the metadata of '{name}'");
        Ok((name.clone(), of_host(&secrets, cluster, name).with_context(task)?))
    };
    cluster.hosts.keys().map(seed).collect()
}

/// Writes the configuration of other servers.
fn write(
    args: &cli::Serve,
    cluster: &Cluster,
    hosts: &Hosts,
    out: &Path,
    folder: &Path,
) -> Result<()> {
    let Some(name) = &args.name else {
        return Err(refuse_usage(
            "these files hold the server's name",
            "say with --name how machines reach it",
        ));
    };
    if !args.no_metadata && !serve::with_keys(cluster).is_empty() {
        return Err(refuse(
            "metadata hold private keys, and nginx would give them to everybody",
            "'--no-metadata' leaves them out: let them come on a medium",
        ));
    }
    let images = Images::read(out, cluster)?;
    let keys = keys(args);
    images.check(Keys { images: keys.images.without_tls(), ..keys })?;
    sys::fs::create_dirs(folder)?;
    let first_stage = args.tftp_root.as_deref().unwrap_or(Path::new(IPXE));
    let (folder_path, out, first_stage) =
        (absolute(folder)?, absolute(out)?, absolute(first_stage)?);
    let files = config::files(&config::Inputs {
        cluster,
        hosts,
        images: &images,
        base: &Base::of_name(name, args.listen.port()),
        folder: &folder_path,
        out: &out,
        first_stage: &first_stage,
        page: PAGE,
    });
    for (path, bytes) in &files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            sys::fs::create_dirs(parent)?;
        }
        sys::fs::write_atomic(&path, bytes)?;
    }
    println!("{}", folder.display());
    Ok(())
}

/// A path as configurations name it.
fn absolute(path: &Path) -> Result<String> {
    let absolute = std::path::absolute(path)
        .with_context(|| format!("finding folder '{}'", path.display()))?;
    let text = absolute.to_str().filter(|text| config::is_plain(text)).map(str::to_owned);
    text.ok_or_else(|| {
        refuse_usage(
            format!("'{}' would have to be quoted in a configuration", absolute.display()),
            "take a folder whose path has letters, digits and '/._+-' only",
        )
    })
}
