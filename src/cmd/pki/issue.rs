// SPDX-License-Identifier: Apache-2.0
//! `kiln pki issue` and `renew`: the certificates of roles or hosts.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, Result};

use super::{Context, cluster, refused};
use crate::{
    cli,
    cluster::Cluster,
    pki::{
        Ca, DAY, Error, FOLDER, Material,
        authority::{Authority, Pair},
        date,
        leaves::{LeafSpec, Scope, leaves, scopes},
        state::{Verdict, Why, judge},
    },
    sys::{self, vault::Existing},
};

pub(super) fn issue(context: &Context, args: &cli::PkiIssue) -> Result<()> {
    make(context, args, |verdict| verdict)
}

pub(super) fn renew(context: &Context, args: &cli::PkiRenew) -> Result<()> {
    let limit = args.within.map(|days| sys::now() + u64::from(days) * DAY);
    make(context, &args.scope, |verdict| match verdict {
        Verdict::Right(until) if limit.is_none_or(|limit| until <= limit) => {
            Verdict::Make(Why::Asked)
        }
        verdict => verdict,
    })
}

/// Makes everything first, and writes it when nothing can be refused any more.
fn make(
    context: &Context,
    args: &cli::PkiIssue,
    decide: impl Fn(Verdict) -> Verdict,
) -> Result<()> {
    let cluster = cluster(context)?;
    let scopes = chosen(&cluster, args).map_err(refused)?;
    let material = sys::vault::read(&context.workspace)?;
    let now = sys::now();
    let authorities =
        authorities(&material, now).map_err(refused).context("opening the authorities")?;
    let mut made: Vec<(LeafSpec, Pair)> = Vec::new();
    let mut report = String::new();
    for scope in &scopes {
        let task = || format!("making the certificates of {scope}");
        let specs = leaves(&cluster, scope);
        if specs.is_empty() {
            writeln!(report, "{scope} needs no certificate")?;
        }
        for spec in &specs {
            let authority = &authorities[&spec.ca];
            let path = format!("{FOLDER}/{}", spec.certificate());
            let verdict = judge(spec, authority.certificate(), &material, now);
            match decide(verdict.map_err(refused).with_context(task)?) {
                Verdict::Right(until) => writeln!(report, "{path}: right until {}", date(until))?,
                Verdict::Make(why) => {
                    let pair = authority.issue(spec, sys::random::fresh()?, now);
                    let pair = pair.map_err(refused).with_context(task)?;
                    writeln!(report, "{path}: new until {}; {why}", date(pair.until))?;
                    made.push((spec.clone(), pair));
                }
            }
        }
        for path in unneeded(scope, &specs, &material) {
            writeln!(report, "{FOLDER}/{path}: nobody needs it, remove it")?;
        }
    }
    sys::vault::prepare(&context.workspace)?;
    for (spec, pair) in made {
        let key = pair.key.reveal().as_bytes();
        sys::vault::store(&context.workspace, &spec.key(), key, Existing::Replace)?;
        let text = pair.certificate.as_bytes();
        sys::vault::store(&context.workspace, &spec.certificate(), text, Existing::Replace)?;
    }
    super::super::print(&report)
}

fn chosen(cluster: &Cluster, args: &cli::PkiIssue) -> Result<Vec<Scope>, Error> {
    let roles = args.role.iter().cloned().map(Scope::Role);
    let hosts = args.host.iter().cloned().map(Scope::Host);
    let chosen: Vec<Scope> = roles.chain(hosts).collect();
    if chosen.is_empty() {
        return Ok(scopes(cluster));
    }
    chosen.iter().try_for_each(|scope| scope.check(cluster))?;
    Ok(chosen)
}

fn authorities(material: &Material, now: u64) -> Result<BTreeMap<Ca, Authority>, Error> {
    let open = |ca| Ok((ca, Authority::open(ca, material, now)?));
    Ca::ALL.into_iter().map(open).collect()
}

/// What lies in the folder of `scope` although no certificate of it has that name.
fn unneeded<'a>(
    scope: &Scope,
    specs: &'a [LeafSpec],
    material: &'a Material,
) -> impl Iterator<Item = &'a str> {
    let folder = format!("{}/", scope.folder());
    material.paths().filter(move |path| {
        path.starts_with(&folder)
            && !specs
                .iter()
                .any(|spec| [spec.certificate(), spec.key()].contains(&(*path).to_owned()))
    })
}
