// SPDX-License-Identifier: Apache-2.0
//! Why there is no certificate, and what to do.

use super::{Ca, FOLDER, date, leaves::Scope};

/// Paths are relative to the folder of the certificates; times are seconds since 1970.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cluster.yaml has no {scope}")]
    UnknownScope { scope: Scope, help: String },
    #[error("there is no '{FOLDER}/{path}'")]
    NoAuthority { path: String },
    #[error("there is no '{FOLDER}/{path}'")]
    NoLeaf { path: String, scope: Scope },
    #[error("'{FOLDER}/{path}' holds {what}")]
    Unreadable { path: String, what: &'static str },
    #[error("'{FOLDER}/{path}' holds a certificate that may not sign others")]
    NoCa { path: String },
    #[error("key '{FOLDER}/{key}' does not belong to certificate '{FOLDER}/{certificate}'")]
    Stranger { key: String, certificate: String },
    #[error("'{FOLDER}/{path}' expired at {}; it is {} now", date(*.until), date(*.now))]
    Expired { path: String, until: u64, now: u64, next: Next },
    #[error("'{FOLDER}/{path}' is valid from {}; it is {} now", date(*.from), date(*.now))]
    NotYet { path: String, from: u64, now: u64 },
    #[error(
        "a certificate until {} would outlive '{FOLDER}/{}', which ends at {}",
        date(*.until), .ca.certificate(), date(*.end)
    )]
    Outlives { until: u64, ca: Ca, end: u64 },
    #[error("'{FOLDER}/{path}' is not what cluster.yaml asks for: {why}")]
    Stale { path: String, why: String, scope: Scope },
    #[error("{what} '{}' is empty, longer than 64 bytes, or has control characters", .text.escape_debug())]
    Name { what: &'static str, text: String },
    #[error("making a certificate failed: {0}")]
    Signer(#[from] rcgen::Error),
}

/// Who makes a new one of what has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Rotate,
    Issue(Scope),
    /// A bootstrap token, which nothing renews: whoever has the old one shall not have the new one.
    Token,
}

impl Error {
    /// The next step.
    pub fn help(&self) -> String {
        match self {
            Self::UnknownScope { help, .. } => help.clone(),
            Self::NoAuthority { .. } => "run `kiln pki init`".to_owned(),
            Self::NoLeaf { scope, .. } | Self::Stale { scope, .. } => issue(scope),
            Self::Unreadable { .. } | Self::NoCa { .. } | Self::Stranger { .. } => {
                "restore it from a backup".to_owned()
            }
            Self::Expired { next: Next::Rotate, .. } => {
                "make a new CA: docs/pki.md, 'A new CA'".to_owned()
            }
            Self::Expired { next: Next::Issue(scope), .. } => issue(scope),
            Self::Expired { path, next: Next::Token, .. } => {
                format!("remove '{FOLDER}/{path}' and run `kiln pki init --only bootstrap-token`")
            }
            Self::NotYet { .. } => "set this machine's clock; certificates depend on it".to_owned(),
            Self::Outlives { .. } => {
                "lower 'pki.leaf-days', or make a new CA: docs/pki.md, 'A new CA'".to_owned()
            }
            Self::Name { .. } => "write a name of 1 to 64 bytes".to_owned(),
            Self::Signer(_) => "report it: this is a bug of Kiln".to_owned(),
        }
    }
}

fn issue(scope: &Scope) -> String {
    match scope {
        Scope::Role(role) => format!("run `kiln pki issue --role {role}`"),
        Scope::Host(host) => format!("run `kiln pki issue --host {host}`"),
    }
}
