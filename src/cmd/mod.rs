// SPDX-License-Identifier: Apache-2.0
//! One verb per file, thin: read with the I/O ring, call pure stages, write.

mod boot;
mod build;
mod check;
mod fetch;
mod flash;
mod images;
mod kubernetes;
mod lock;
mod pki;
mod plan;
mod preview;
mod publish;
mod pull;
mod seed;
mod serve;

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use crate::{
    cli::{Cli, Command},
    digest::Digest,
    plan::{Given, Plan},
    store::Store,
    sys,
    workspace::Workspace,
};

/// What every command needs: where people's files and the cache are.
#[derive(Debug)]
pub struct Context {
    pub workspace: PathBuf,
    cache: Option<PathBuf>,
    pub quiet: bool,
}

impl Context {
    /// The cache, of commands that need one: a rescue system has no place for it.
    fn store(&self) -> Result<Store> {
        let cache = self.cache.clone().map_or_else(sys::cache_dir, Ok)?;
        Ok(Store::new(&cache))
    }
}

/// Carries out one command line.
pub fn run(cli: &Cli) -> Result<()> {
    sys::interrupt::install()?;
    let context =
        Context { workspace: cli.workspace.clone(), cache: cli.cache.clone(), quiet: cli.quiet };
    match &cli.command {
        Command::Check(args) => check::run(&context, args),
        Command::Plan(args) => plan::run(&context, args),
        Command::Lock(args) => lock::run(&context, args),
        Command::Fetch(args) => fetch::run(&context, args),
        Command::Build(args) => build::run(&context, args),
        Command::Pki(command) => pki::run(&context, command),
        Command::Seed(args) => seed::run(&context, args),
        Command::Serve(args) => serve::run(&context, args),
        Command::Flash(args) => flash::run(&context, args),
        Command::Publish(args) => publish::run(&context, args),
        Command::Pull(args) => pull::run(&context, args),
        Command::Preview(args) => preview::run(&context, args),
        Command::Boot(args) => boot::run(&context, args),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "kiln", &mut io::stdout());
            Ok(())
        }
    }
}

/// Results, on stdout. A reader that has seen enough is no error.
fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to stdout")
        }
        _ => Ok(()),
    }
}

/// What is no mistake, beside the results.
fn warn(context: &Context, warnings: impl IntoIterator<Item = String>) {
    if !context.quiet {
        warnings.into_iter().for_each(|warning| eprintln!("warning: {warning}"));
    }
}

/// What is said of the cluster that all of these plans are of.
fn warn_of_cluster(context: &Context, plans: &[Plan]) {
    warn(context, plans.first().map(|plan| plan.cluster.warnings()).unwrap_or_default());
}

/// The people's files and the plans for `roles` (all if none is named).
fn load(context: &Context, roles: &[String]) -> Result<(Workspace, Vec<Plan>)> {
    let workspace = sys::workspace::load(&context.workspace)?;
    let plans = crate::plan::plan(&workspace, roles, given(context)?)?;
    Ok((workspace, plans))
}

/// The plans alone.
fn plans(context: &Context, roles: &[String]) -> Result<Vec<Plan>> {
    load(context, roles).map(|(_, plans)| plans)
}

/// What a plan takes from outside of people's files. Time is `SOURCE_DATE_EPOCH`, else the date
/// of the locked archive: the moment from which all packages are.
fn given(context: &Context) -> Result<Given> {
    let epoch = match sys::workspace::source_date_epoch()? {
        Some(epoch) => epoch,
        None => crate::lock::file::read(&context.workspace)?
            .map_or(0, |lock| u32::try_from(lock.date()).unwrap_or(u32::MAX)),
    };
    Ok(Given { epoch, init: Digest::of(crate::KILN_INIT) })
}
