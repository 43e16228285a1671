// SPDX-License-Identifier: Apache-2.0
//! The command line: clap structs only.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::{digest::Digest, profile::OUTPUTS};

/// Builds immutable node OS images for Kubernetes: one bootable disk per role.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, max_term_width = 80)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Workspace: the folder that holds cluster.yaml, profiles and overlays
    #[arg(short = 'C', long, global = true, value_name = "DIR", default_value = ".")]
    pub workspace: PathBuf,

    /// Cache of downloads and compressed blocks [default: $XDG_CACHE_HOME/kiln]
    #[arg(long, global = true, value_name = "DIR", env = "KILN_CACHE")]
    pub cache: Option<PathBuf>,

    /// Only errors and results
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the cluster file, profiles, overlays and templates
    Check(Check),
    /// Print everything a build decides, without fetching
    Plan(Plan),
    /// Choose packages and pin them in kiln.lock
    Lock(Lock),
    /// Download what kiln.lock pins into the cache
    Fetch(Fetch),
    /// Build the images
    Build(Build),
    /// Make, renew and list the cluster's certificates
    #[command(subcommand)]
    Pki(Pki),
    /// Write a host's metadata medium
    Seed(Seed),
    /// Serve images and metadata to machines that boot by network
    Serve(Serve),
    /// Write an image to a disk, and read it back
    Flash(Flash),
    /// Put results of a build into an OCI registry or an S3-compatible store
    Publish(Publish),
    /// Take published results from there
    Pull(Pull),
    /// Show what first boot would make of a host's metadata
    Preview(Preview),
    /// Start an image in QEMU
    Boot(Boot),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Args)]
pub struct Check {
    /// Roles; all if none is given
    #[arg(value_name = "ROLE")]
    pub roles: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Plan {
    /// Roles; all if none is given
    #[arg(value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Print what to do since FILE, an older cluster.yaml, instead
    #[arg(long, value_name = "FILE", conflicts_with = "roles")]
    pub against: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where packages come from.
#[derive(Debug, Args)]
pub struct Network {
    /// Base address of the Debian archive
    #[arg(long, value_name = "URL", env = "KILN_MIRROR")]
    pub mirror: Option<String>,
    /// Base address of the security archive
    #[arg(long, value_name = "URL", env = "KILN_SECURITY_MIRROR")]
    pub security_mirror: Option<String>,
    /// Base address of the snapshot archive, for versions that left the archive
    #[arg(long, value_name = "URL", env = "KILN_SNAPSHOT_MIRROR")]
    pub snapshot_mirror: Option<String>,
    /// OpenPGP certificates that archives are signed with [default: Debian's]
    #[arg(long, value_name = "FILE", env = "KILN_KEYRING")]
    pub keyring: Option<PathBuf>,
    /// Parallel downloads
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub jobs: usize,
    /// Use only the cache
    #[arg(long)]
    pub offline: bool,
}

#[derive(Debug, Args)]
pub struct Lock {
    /// Re-pin only what has left the archive
    #[arg(long)]
    pub repair: bool,
    /// Change nothing; fail if the lock is missing or does not match
    #[arg(long, conflicts_with = "repair")]
    pub check: bool,
    #[command(flatten)]
    pub network: Network,
}

#[derive(Debug, Args)]
pub struct Fetch {
    /// Roles; all if none is given
    #[arg(value_name = "ROLE")]
    pub roles: Vec<String>,
    #[command(flatten)]
    pub network: Network,
}

#[derive(Debug, Args)]
pub struct Build {
    /// Roles; all if none is given
    #[arg(value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Forms of the disks, with commas between them [default: outputs of the profiles]
    #[arg(long, value_name = "FORM", value_delimiter = ',', value_parser = OUTPUTS.map(|(word, _)| word))]
    pub format: Vec<String>,
    /// Certificate that OVAs are signed for, PEM
    #[arg(long, value_name = "FILE", requires = "ova_key")]
    pub ova_certificate: Option<PathBuf>,
    /// Its private key: RSA, PEM (PKCS#8)
    #[arg(long, value_name = "FILE", requires = "ova_certificate")]
    pub ova_key: Option<PathBuf>,
    /// Folder for the results, one folder per role
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Print the manifests as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub network: Network,
}

#[derive(Debug, Subcommand)]
pub enum Pki {
    /// Make the certificate authorities and the service-account key
    Init(PkiInit),
    /// Make the certificates that are missing or no longer right
    Issue(PkiIssue),
    /// Make new certificates under the same authorities
    Renew(PkiRenew),
    /// Print every certificate, those that expire first at the top
    List(PkiList),
    /// Write a kubeconfig for a user
    Kubeconfig(PkiKubeconfig),
}

#[derive(Debug, Args)]
pub struct PkiInit {
    /// Make this part alone; can be repeated
    #[arg(long, value_name = "PART", value_enum)]
    pub only: Vec<PkiPart>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PkiPart {
    /// Signs everything of Kubernetes
    KubernetesCa,
    /// Signs servers, peers and clients of etcd
    EtcdCa,
    /// Signs the client that speaks in the name of users
    FrontProxyCa,
    /// Key pair of service-account tokens
    ServiceAccount,
    /// Token with which kubelets ask for their first certificate
    BootstrapToken,
    /// Key that encrypts secrets in etcd
    EncryptionKey,
}

impl PkiPart {
    pub const ALL: [Self; 6] = [
        Self::KubernetesCa,
        Self::EtcdCa,
        Self::FrontProxyCa,
        Self::ServiceAccount,
        Self::BootstrapToken,
        Self::EncryptionKey,
    ];
}

#[derive(Debug, Args)]
pub struct PkiIssue {
    /// One set for all hosts of this role [default: what pki.delivery asks for]
    #[arg(long, value_name = "ROLE")]
    pub role: Vec<String>,
    /// A set for this host
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PkiRenew {
    #[command(flatten)]
    pub scope: PkiIssue,
    /// Only certificates that end within so many days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=36_500))]
    pub within: Option<u32>,
}

#[derive(Debug, Args)]
pub struct PkiList {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Fail if a certificate ends within so many days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=36_500))]
    pub within: Option<u32>,
}

#[derive(Debug, Args)]
pub struct PkiKubeconfig {
    /// Name of the user
    #[arg(long, value_name = "USER")]
    pub user: String,
    /// Group of the user, as system:masters for a superuser
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Life of its certificate [default: pki.leaf-days]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: Option<u32>,
    /// File to write; it must not exist
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct Seed {
    /// Hosts of cluster.yaml
    #[arg(value_name = "HOST", required_unless_present = "all")]
    pub hosts: Vec<String>,
    /// Every host
    #[arg(long, conflicts_with = "hosts")]
    pub all: bool,
    /// Medium
    #[arg(long, value_enum, default_value_t = SeedFormat::Iso)]
    pub format: SeedFormat,
    /// Folder for the results
    #[arg(short, long, value_name = "DIR", default_value = "out/seed")]
    pub out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SeedFormat {
    /// ISO 9660 with Joliet and Rock Ridge, label CIDATA
    Iso,
    /// FAT image, label CIDATA
    Vfat,
    /// OpenStack: a disk image with FAT, labeled CONFIG-2
    ConfigDrive,
    /// A folder with the files
    Dir,
    /// VMware: a folder with the keys of guestinfo, and the command that sets them
    Guestinfo,
    /// VMware: a folder with the answers to an OVA's questions, for govc import.ova
    Ova,
    /// QEMU: a folder with the files, and the arguments that hand them over
    Qemu,
    /// A web server's folder, named by the host's MAC address, for kiln.url=
    Http,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Folder of the images
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Where to listen for HTTP
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Name or address of this machine for others [default: what they asked]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Certificate with its chain, for HTTPS; PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key; PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Where to listen for HTTPS
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443")]
    pub tls_listen: SocketAddr,
    /// Folder with iPXE's programs, to be served by TFTP and below /ipxe/
    #[arg(long, value_name = "DIR")]
    pub tftp_root: Option<PathBuf>,
    /// Where to listen for TFTP
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:69")]
    pub tftp_listen: SocketAddr,
    /// Serve no metadata: hosts have them from elsewhere
    #[arg(long)]
    pub no_metadata: bool,
    /// Serve private keys too; with commas between them
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    pub serve_keys: Vec<ServeKeys>,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Of these, from one address
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections_of_one: u32,
    /// Write configuration for dnsmasq and nginx into this folder instead
    #[arg(long, value_name = "DIR")]
    pub write_config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ServeKeys {
    /// Hosts' metadata with their keys, over HTTPS
    Metadata,
    /// Images that hold keys, over HTTPS
    Images,
    /// Images that hold keys, over HTTP too
    ImagesOverHttp,
}

#[derive(Debug, Args)]
pub struct Flash {
    /// Raw image: out/ROLE/NAME.raw
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// Disk: /dev/disk/by-id/..., or an emulator's file
    #[arg(value_name = "DISK")]
    pub device: PathBuf,
    /// Host of cluster.yaml whose metadata the disk carries too
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// How a registry or a store is reached.
#[derive(Debug, Default, Args)]
pub struct Store {
    /// Server of an s3:// target: https://HOST[:PORT]; the environment's AWS_ENDPOINT_URL counts
    /// too [default: Amazon's]
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Region of an s3:// target; the environment's AWS_REGION counts too [default: us-east-1]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Speak with other machines without TLS: everybody on the way can read and change everything
    #[arg(long)]
    pub allow_plain_http: bool,
    /// Files at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub jobs: usize,
}

#[derive(Debug, Args)]
#[command(override_usage = "kiln publish [OPTIONS] [ROLE]... TARGET")]
pub struct Publish {
    /// Roles, all that are in --out if none is given; and at the end where to:
    /// oci://REGISTRY/REPOSITORY:TAG or s3://BUCKET/PREFIX
    #[arg(value_name = "ROLE|TARGET", required = true)]
    pub words: Vec<String>,
    /// Folder of the results, one folder per role
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Put a release in the place of another one
    #[arg(long)]
    pub replace: bool,
    /// Publish images that hold private keys too
    #[arg(long)]
    pub with_secrets: bool,
    #[command(flatten)]
    pub store: Store,
}

#[derive(Debug, Args)]
#[command(override_usage = "kiln pull [OPTIONS] ROLE... TARGET")]
pub struct Pull {
    /// Roles; and at the end where from: oci://REGISTRY/REPOSITORY:TAG or s3://BUCKET/PREFIX
    #[arg(value_name = "ROLE|TARGET", required = true)]
    pub words: Vec<String>,
    /// Folder for the results, one folder per role
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// SHA-256 that SHA256SUMS of the role must have
    #[arg(long, value_name = "DIGEST")]
    pub sha256: Option<Digest>,
    #[command(flatten)]
    pub store: Store,
}

#[derive(Debug, Args)]
pub struct Preview {
    /// Role whose image the host would boot
    #[arg(long, value_name = "ROLE")]
    pub role: String,
    /// Where the metadata would come from
    #[arg(long, value_name = "NAME", value_enum)]
    pub source: PreviewSource,
    /// Folder with what the source would deliver
    #[arg(long, value_name = "DIR")]
    pub seed: PathBuf,
    /// Folder for the files that the host would have; new or empty
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print what was decided as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PreviewSource {
    /// Files of a NoCloud medium: meta-data, network-config, user-data
    Nocloud,
    /// Files of an OpenStack config drive: openstack/latest/meta_data.json, ...
    ConfigDrive,
    /// One file per key: guestinfo.metadata, guestinfo.metadata.encoding, ...
    Guestinfo,
    /// ovf-env.xml
    Ovf,
    /// cmdline: a kernel command line
    Cmdline,
    /// What the server has below the host's address: meta-data, network-config, user-data
    Http,
}

#[derive(Debug, Args)]
pub struct Boot {
    pub role: String,
    /// Host of cluster.yaml whose metadata the machine gets [default: the role's first]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Folder of the images
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub memory: u32,
    /// Virtual processors
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cpus: u32,
    /// Start the machine by legacy BIOS, if the image boots by it
    #[arg(long)]
    pub bios: bool,
    /// Keep changes in this qcow2 file instead of dropping them
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
    /// Stop the machine once the role is ready; fail if it is not
    #[arg(long)]
    pub until_ready: bool,
    /// Seconds to wait with --until-ready
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u32,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
