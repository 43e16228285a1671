// SPDX-License-Identifier: Apache-2.0
//! `kiln publish`: puts results of a build where many machines can get them.

use anyhow::{Context as _, Result};

use super::Context;
use crate::{
    cli,
    error::{refuse, refuse_usage},
    names,
    progress::Progress,
    publish::{self, Allowed, Built, Purpose, Ways, target::Target},
    sys,
};

pub(super) fn run(context: &Context, args: &cli::Publish) -> Result<()> {
    let (mut roles, target) = words(&args.words)?;
    let out = context.workspace.join(&args.out);
    if roles.is_empty() {
        roles = publish::roles(&out)?;
    }
    if roles.is_empty() {
        return Err(refuse(
            format!("there are no results in '{}'", out.display()),
            "run 'kiln build', or name their folder with --out",
        ));
    }
    let place = Ways::new(&args.store, sys::credentials::read()?)?.open(&target, Purpose::Write)?;
    let read = |role: &String| {
        Built::read(&out.join(role), role).with_context(|| format!("publishing '{role}'"))
    };
    let built: Vec<Built> = roles.iter().map(read).collect::<Result<_>>()?;
    let allowed = Allowed { replace: args.replace, secrets: args.with_secrets };
    let progress = Progress::new(context.quiet);
    let names = publish::publish(&place, &built, allowed, args.store.jobs, &progress)?;
    super::print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())
}

/// Roles, and a target at the end.
pub(super) fn words(words: &[String]) -> Result<(Vec<String>, Target)> {
    let help = "end the command with oci://REGISTRY/REPOSITORY:TAG or s3://BUCKET/PREFIX";
    let Some((target, roles)) = words.split_last().filter(|(last, _)| Target::is_meant(last))
    else {
        return Err(refuse_usage("no target is named", help));
    };
    let target: Target = target.parse().map_err(|error| refuse_usage(error, help))?;
    let mut names = Vec::new();
    for role in roles {
        if names::label(role).is_err() {
            let fact = format!("'{}' is no role", role.escape_default());
            return Err(refuse_usage(fact, "write roles first, and one target behind them"));
        }
        if !names.contains(role) {
            names.push(role.clone());
        }
    }
    Ok((names, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_come_before_their_target() {
        let read = |text: &[&str]| {
            let all: Vec<String> = text.iter().map(|word| (*word).to_owned()).collect();
            words(&all).map_err(|error| error.to_string())
        };
        let (roles, target) = read(&["lb", "node", "lb", "s3://bucket/1"]).unwrap();
        assert_eq!(
            (roles.join(" ").as_str(), target.to_string().as_str()),
            ("lb node", "s3://bucket/1")
        );
        assert!(read(&["s3://bucket/1"]).unwrap().0.is_empty());
        assert_eq!(read(&["lb", "node"]).unwrap_err(), "no target is named");
        assert_eq!(read(&["s3://bucket/1", "lb"]).unwrap_err(), "no target is named");
        assert_eq!(read(&["../lb", "s3://bucket/1"]).unwrap_err(), "'../lb' is no role");
        assert!(read(&["ftp://a"]).unwrap_err().contains("neither a registry nor a bucket"));
    }
}
