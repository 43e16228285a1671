// SPDX-License-Identifier: Apache-2.0
//! `kiln pki init`: makes the authorities and the key of the service accounts.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Context, cluster, refused};
use crate::{
    cli::{self, PkiPart},
    error::refuse,
    pki::{Ca, DAY, FOLDER, SERVICE_ACCOUNT, authority, date, encryption, token},
    sys::{self, vault::Existing},
};

/// What a part consists of: public file, if it has one, and private file.
fn files(part: PkiPart) -> (Option<String>, String) {
    match part {
        PkiPart::ServiceAccount => {
            (Some(format!("{SERVICE_ACCOUNT}.pub")), format!("{SERVICE_ACCOUNT}.key"))
        }
        PkiPart::BootstrapToken => (None, token::FILE.to_owned()),
        PkiPart::EncryptionKey => (None, encryption::FILE.to_owned()),
        _ => {
            let ca = ca(part).expect("every other part is a CA");
            (Some(ca.certificate()), ca.key())
        }
    }
}

fn ca(part: PkiPart) -> Option<Ca> {
    match part {
        PkiPart::KubernetesCa => Some(Ca::Kubernetes),
        PkiPart::EtcdCa => Some(Ca::Etcd),
        PkiPart::FrontProxyCa => Some(Ca::FrontProxy),
        PkiPart::ServiceAccount | PkiPart::BootstrapToken | PkiPart::EncryptionKey => None,
    }
}

pub(super) fn run(context: &Context, args: &cli::PkiInit) -> Result<()> {
    let cluster = cluster(context)?;
    let is_wanted = |part: &PkiPart| args.only.is_empty() || args.only.contains(part);
    let parts: Vec<PkiPart> = PkiPart::ALL.into_iter().filter(is_wanted).collect();
    let material = sys::vault::read(&context.workspace)?;
    let wanted = parts.iter().flat_map(|part| {
        let (public, private) = files(*part);
        public.into_iter().chain([private])
    });
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
        let (key, text, note) = match part {
            PkiPart::ServiceAccount => {
                let (key, text) = authority::service_account(&sys::random::fresh()?);
                let note = "signs service-account tokens".to_owned();
                (key.reveal().to_owned(), text, note)
            }
            PkiPart::BootstrapToken => {
                let until = now + u64::from(cluster.pki.leaf_days) * DAY;
                let key = token::text(&sys::random::bytes()?, until);
                (key, String::new(), format!("kubelets' first word, until {}", date(until)))
            }
            PkiPart::EncryptionKey => {
                let key = encryption::text(&sys::random::bytes()?);
                (key, String::new(), "encrypts secrets in etcd".to_owned())
            }
            _ => {
                let ca = ca(part).expect("every other part is a CA");
                let fresh = sys::random::fresh()?;
                let pair = authority::found(ca, &cluster.name, cluster.pki.ca_days, fresh, now)
                    .map_err(refused)?;
                let note = format!("CA until {}", date(pair.until));
                (pair.key.reveal().to_owned(), pair.certificate, note)
            }
        };
        writeln!(report, "{FOLDER}/{}: {note}", public.as_ref().unwrap_or(&private))?;
        made.push((private, key, public, text));
    }
    sys::vault::prepare(&context.workspace)?;
    for (private, key, public, text) in made {
        sys::vault::store(&context.workspace, &private, key.as_bytes(), Existing::Refuse)?;
        if let Some(public) = public {
            sys::vault::store(&context.workspace, &public, text.as_bytes(), Existing::Refuse)?;
        }
    }
    super::super::print(&report)
}
