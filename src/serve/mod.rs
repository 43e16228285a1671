// SPDX-License-Identifier: Apache-2.0
//! `kiln serve`: images, metadata and boot scripts for a site, and a page that shows its hosts.
//!
//! ```text
//! request -> answer::route     which of the known things is meant         (pure, by lookup)
//!         -> answer::reply     range, validators, status, headers          (pure)
//!         -> body              pieces of the file, read when they are sent
//!         -> fleet             who asked for what; the page's rows
//! ```
//!
//! A path never becomes a file name: it is looked up among names that builds and hosts have, and
//! what it means is opened beneath a folder that is open already. Specifications: HTTP/1.1 (RFC
//! 9110, 9112) by hyper, TLS by rustls, TFTP (RFC 1350, 2347, 2348, 2349) by [`tftp`].
//!
//! hyper and tokio without a framework: there are ten paths, and what counts here are the limits of a
//! connection, which frameworks leave to hyper as well.

mod answer;
mod body;
pub mod config;
#[cfg(test)]
mod fixture;
mod fleet;
mod folder;
mod hosts;
mod images;
mod listen;
mod range;
mod report;
mod script;
mod stall;
mod tftp;
mod tls;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use self::{fleet::Fleet, tftp::FirstStage};
pub use self::{
    hosts::{Hosts, with_keys},
    images::{Images, Keys, Secrecy},
    listen::Limits,
    script::Base,
};
use crate::{cluster::Cluster, error::refuse, progress::Progress, sys};

/// Between two looks whether a build has left something new.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Connections that the kernel holds until they are accepted, if it may: a rack that is switched on
/// asks at one moment, and who does not fit is reset.
const WAITING: u32 = 4096;
/// Between two signs of life to pages that show the fleet.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Between two looks whether the user wants an end.
const INTERRUPT: Duration = Duration::from_millis(100);

/// What is to be served, and where.
#[derive(Debug)]
pub struct Settings {
    pub cluster: Cluster,
    pub hosts: Hosts,
    /// The folder of builds: `out`.
    pub out: PathBuf,
    /// What may be handed out although it holds private keys.
    pub keys: Keys,
    /// Name or address by which machines reach this one; else what they asked.
    pub name: Option<String>,
    pub http: SocketAddr,
    pub https: Option<(SocketAddr, Certificate)>,
    /// Folder with the programs of the first stage, and where TFTP listens.
    pub tftp: Option<(PathBuf, SocketAddr)>,
    pub limits: Limits,
}

/// A certificate with its chain, and its key; PEM.
pub struct Certificate {
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

/// What all connections share.
struct Site {
    settings: Settings,
    images: RwLock<Arc<Images>>,
    first_stage: Option<FirstStage>,
    fleet: Mutex<Fleet>,
    pieces: Arc<body::Pieces>,
    http: u16,
    https: Option<u16>,
    progress: Progress,
}

impl Site {
    fn images(&self) -> Arc<Images> {
        Arc::clone(&self.images.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a machine that reached us at `local` reaches us.
    fn base(&self, local: IpAddr) -> Base {
        let host = match &self.settings.name {
            Some(name) => script::host(name),
            None => script::host(&local.to_canonical().to_string()),
        };
        Base { host, http: self.http, https: self.https }
    }
}

/// Serves until the user wants an end. `ready` gets the addresses once they are open.
///
/// # Errors
/// An address cannot be opened, or what is to be served may not be.
pub fn run(settings: Settings, progress: Progress, ready: impl FnOnce(&[String])) -> Result<()> {
    let images = Images::read(&settings.out, &settings.cluster)?;
    images.check(settings.keys)?;
    for role in settings.cluster.roles() {
        if images.role(role).is_none_or(|image| image.script.is_none()) {
            progress.say(format!(
                "warning: '{}' has nothing for netboot: kiln build {role} --format netboot",
                settings.out.join(role).display()
            ));
        }
    }
    listen::raise_open_files(settings.limits.connections);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the server")?;
    let served = runtime.block_on(serve(settings, images, progress, ready));
    // Downloads that still go on are not waited for.
    runtime.shutdown_background();
    served
}

async fn serve(
    settings: Settings,
    images: Images,
    progress: Progress,
    ready: impl FnOnce(&[String]),
) -> Result<()> {
    let http = bind(settings.http)?;
    let https = match &settings.https {
        Some((address, certificate)) => Some((bind(*address)?, tls::acceptor(certificate)?)),
        None => None,
    };
    let tftp = match &settings.tftp {
        Some((folder, address)) => {
            let socket = UdpSocket::bind(address).await;
            let socket = socket.map_err(|error| cannot_listen("UDP", *address, &error))?;
            Some((socket, FirstStage::read(folder)?))
        }
        None => None,
    };
    let (tftp, first_stage) = tftp.unzip();
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    let site = Arc::new(Site {
        http: port(&http).context("listening")?,
        https: https.as_ref().map(|(listener, _)| port(listener)).transpose()?,
        fleet: Mutex::new(Fleet::new(&settings.cluster, &images)),
        images: RwLock::new(Arc::new(images)),
        first_stage,
        pieces: Arc::default(),
        settings,
        progress,
    });
    let limits = Arc::new(listen::Open::new(site.settings.limits));
    let mut addresses = vec![format!("http://{}/", http.local_addr()?)];
    tokio::spawn(listen::accept(http, None, Arc::clone(&site), Arc::clone(&limits)));
    if let Some((listener, acceptor)) = https {
        addresses.push(format!("https://{}/", listener.local_addr()?));
        tokio::spawn(listen::accept(listener, Some(acceptor), Arc::clone(&site), limits));
    }
    if let Some(socket) = tftp {
        addresses.push(format!("tftp://{}/", socket.local_addr()?));
        tokio::spawn(tftp::serve(socket, Arc::clone(&site)));
    }
    tokio::spawn(look_again(Arc::clone(&site)));
    tokio::spawn(give_signs_of_life(Arc::clone(&site)));
    ready(&addresses);
    while !sys::interrupt::pending() {
        tokio::time::sleep(INTERRUPT).await;
    }
    Ok(())
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A server that was started again takes its port while old connections end.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(WAITING)
    };
    listen().map_err(|error| cannot_listen("TCP", address, &error))
}

fn cannot_listen(protocol: &str, address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    use std::io::ErrorKind;
    let fact = format!("{protocol} {address}: {error}");
    let help = match error.kind() {
        ErrorKind::AddrInUse => "another program has it: end that one, or choose another port",
        ErrorKind::PermissionDenied => {
            "ports below 1024 are for root, or for who has CAP_NET_BIND_SERVICE"
        }
        _ => "name an address of this machine",
    };
    refuse(fact, help).context("listening")
}

/// Takes over what a build has put in place; requests that run keep what they have.
async fn look_again(site: Arc<Site>) {
    let mut said = String::new();
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let looking = Arc::clone(&site);
        let outcome = tokio::task::spawn_blocking(move || {
            let Settings { out, cluster, .. } = &looking.settings;
            looking.images().read_again(out, cluster)
        });
        match outcome.await.unwrap_or_else(|error| Err(error.into())) {
            Ok(None) => {}
            Ok(Some(images)) => {
                site.fleet().built(&images);
                for image in images.all() {
                    let (role, version, id) = (&image.role, &image.version, &image.id);
                    site.progress.say(format!("serving '{role}' version {version} ({id})"));
                }
                *site.images.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(images);
                said.clear();
            }
            Err(error) => {
                let text = format!("{error:#}");
                if text != said {
                    site.progress.say(format!("warning: {text}; serving what was there before"));
                    said = text;
                }
            }
        }
    }
}

async fn give_signs_of_life(site: Arc<Site>) {
    loop {
        tokio::time::sleep(SIGN_OF_LIFE).await;
        site.fleet().sign_of_life();
    }
}
