// SPDX-License-Identifier: Apache-2.0
//! `kiln pki init`: makes the authorities and the key of the service accounts.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Context, cluster, refused};
use crate::{
    cli::{self, PkiPart},
    error::refuse,
    pki::{Ca, FOLDER, SERVICE_ACCOUNT, authority, date},
    sys::{self, vault::Existing},
};

/// What a part consists of: public file, private file.
fn files(part: PkiPart) -> (String, String) {
    match ca(part) {
        Some(ca) => (ca.certificate(), ca.key()),
        None => (format!("{SERVICE_ACCOUNT}.pub"), format!("{SERVICE_ACCOUNT}.key")),
    }
}

fn ca(part: PkiPart) -> Option<Ca> {
    match part {
        PkiPart::KubernetesCa => Some(Ca::Kubernetes),
        PkiPart::EtcdCa => Some(Ca::Etcd),
        PkiPart::FrontProxyCa => Some(Ca::FrontProxy),
        PkiPart::ServiceAccount => None,
    }
}

pub(super) fn run(context: &Context, args: &cli::PkiInit) -> Result<()> {
    let cluster = cluster(context)?;
    let is_wanted = |part: &PkiPart| args.only.is_empty() || args.only.contains(part);
    let parts: Vec<PkiPart> = PkiPart::ALL.into_iter().filter(is_wanted).collect();
    let material = sys::vault::read(&context.workspace)?;
    let wanted = parts.iter().flat_map(|part| <[String; 2]>::from(files(*part)));
    let existing: Vec<String> = wanted
        .filter(|path| material.get(path).is_some())
        .map(|path| format!("'{FOLDER}/{path}'"))
        .collect();
    if !existing.is_empty() {
        let refusal = refuse(
            format!("{} would be overwritten", existing.join(", ")),
            "name what is missing with --only, or follow docs/pki.md, 'A new CA'",
        );
        return Err(refusal.context("making the authorities"));
    }
    let now = sys::now();
    let mut made = Vec::new();
    let mut report = String::new();
    for part in parts {
        let (public, private) = files(part);
        let fresh = sys::random::fresh()?;
        let (key, text, note) = match ca(part) {
            Some(ca) => {
                let pair = authority::found(ca, &cluster.name, cluster.pki.ca_days, fresh, now)
                    .map_err(refused)?;
                (pair.key, pair.certificate, format!("CA until {}", date(pair.until)))
            }
            None => {
                let (key, text) = authority::service_account(&fresh);
                (key, text, "signs service-account tokens".to_owned())
            }
        };
        writeln!(report, "{FOLDER}/{public}: {note}")?;
        made.push((private, key.reveal().to_owned(), public, text));
    }
    sys::vault::prepare(&context.workspace)?;
    for (private, key, public, text) in made {
        sys::vault::store(&context.workspace, &private, key.as_bytes(), Existing::Refuse)?;
        sys::vault::store(&context.workspace, &public, text.as_bytes(), Existing::Refuse)?;
    }
    super::super::print(&report)
}
