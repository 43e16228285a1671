// SPDX-License-Identifier: Apache-2.0
//! `kiln pki`: authorities, certificates, and what expires. No key reaches stdout or stderr.

mod init;
mod issue;
mod kubeconfig;
mod list;

use anyhow::{Error, Result};

use super::Context;
use crate::{
    cli,
    cluster::{self, Cluster},
    diagnostic::Problems,
    error::{refuse, refuse_usage},
    pki, sys,
};

pub(super) fn run(context: &Context, command: &cli::Pki) -> Result<()> {
    match command {
        cli::Pki::Init(args) => init::run(context, args),
        cli::Pki::Issue(args) => issue::issue(context, args),
        cli::Pki::Renew(args) => issue::renew(context, args),
        cli::Pki::List(args) => list::run(context, args),
        cli::Pki::Kubeconfig(args) => kubeconfig::run(context, args),
    }
}

fn cluster(context: &Context) -> Result<Cluster> {
    let workspace = sys::workspace::load(&context.workspace)?;
    let problems = Problems::new();
    let cluster = cluster::load(&workspace, &problems);
    Ok(problems.finish(cluster)?)
}

/// The error with its next step.
pub(super) fn refused(error: pki::Error) -> Error {
    let help = error.help();
    match error {
        pki::Error::UnknownScope { .. } | pki::Error::Name { .. } => refuse_usage(error, help),
        _ => refuse(error, help),
    }
}
