// SPDX-License-Identifier: Apache-2.0
//! `kiln pki kubeconfig`: a person's or a program's way to the API, in one file.

use anyhow::{Context as _, Result};

use super::{Context, cluster, refused};
use crate::{
    cli,
    kubernetes::kubeconfig::{Credentials, Trust, kubeconfig},
    pki::{Ca, Error, authority::Authority, date, leaves::Subject},
    sys,
};

pub(super) fn run(context: &Context, args: &cli::PkiKubeconfig) -> Result<()> {
    let cluster = cluster(context)?;
    let material = sys::vault::read(&context.workspace)?;
    let now = sys::now();
    let task = || format!("making a kubeconfig for '{}'", args.user.escape_debug());
    let authority =
        Authority::open(Ca::Kubernetes, &material, now).map_err(refused).with_context(task)?;
    let subject = Subject { common_name: args.user.clone(), organization: args.group.clone() };
    let days = args.days.unwrap_or(cluster.pki.leaf_days);
    let pair = authority
        .client(&subject, days, sys::random::fresh()?, now)
        .map_err(refused)
        .with_context(task)?;
    // The whole file: it may hold two CAs while one takes over from the other.
    let path = Ca::Kubernetes.certificate();
    let trust = material.get(&path).ok_or(Error::NoAuthority { path }).map_err(refused)?;
    let text = kubeconfig(
        &cluster.name,
        &format!("https://{}:{}", cluster.endpoint.vip, cluster.endpoint.port),
        Trust::Embedded(trust),
        &args.user,
        &Credentials::Embedded { certificate: &pair.certificate, key: &pair.key },
    );
    sys::vault::write_secret(&args.out, text.to_string().as_bytes()).with_context(task)?;
    super::super::print(&format!("{}: {subject} until {}\n", args.out.display(), date(pair.until)))
}
