// SPDX-License-Identifier: Apache-2.0
//! Which metadata makes the host: what a source has now, or what an earlier boot kept.
//!
//! Kept documents stay in force until other documents come. A line of configuration has none, so
//! it is only laid over them. What changes a host's instance is declared by the image; nothing
//! that cannot be read counts as another instance, or as the same.

use crate::{
    handoff::{InstanceChange, Source},
    metadata::{Error, Seed},
};

/// The metadata that counts, and what people are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chosen {
    pub seed: Option<Seed>,
    /// The instance that the host was until now, if it becomes another one.
    pub replaces: Option<String>,
    pub said: String,
}

/// What servers are for in this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Servers {
    /// They say who the host is, and everything waits for them.
    Decide,
    /// They may know the host as another instance by now; nothing waits.
    Recheck,
    Nothing,
}

/// Whether servers count beside what this machine has, `new`, and what it kept.
pub fn servers(declared: &[Source], new: Option<&Seed>, kept: Option<&Seed>) -> Servers {
    match kept {
        _ if new.is_some_and(Seed::has_documents) => Servers::Nothing,
        // A line alone names the host; its documents may still be on a server.
        None => Servers::Decide,
        Some(kept) if kept.server().is_some_and(|it| declared.contains(&it)) => Servers::Recheck,
        Some(_) => Servers::Nothing,
    }
}

/// Chooses between what a source has now and what was kept.
///
/// # Errors
/// An instance id is refused, or stands in a document that cannot be read.
pub fn choose(
    on_change: InstanceChange,
    new: Option<Seed>,
    kept: Option<Seed>,
) -> Result<Chosen, Error> {
    // What was worth a line about the sources of another boot is not about this one.
    let kept = kept.map(|kept| Seed { warnings: Vec::new(), ..kept });
    let chosen = |seed: Seed, said: String| Chosen { seed: Some(seed), replaces: None, said };
    let (new, kept) = match (new, kept) {
        (None, None) => return Ok(Chosen::default()),
        (Some(new), None) => {
            let said = format!("metadata from {}", new.origin);
            return Ok(chosen(new, said));
        }
        (None, Some(kept)) => {
            let said = format!("metadata as kept from {}", kept.origin);
            return Ok(chosen(kept, said));
        }
        (Some(new), Some(kept)) => (new, kept),
    };
    let origin = new.origin.clone();
    let is_laid_over = !new.has_documents() && kept.has_documents();
    let new = match is_laid_over {
        true => Seed { line: new.line.over(&kept.line), ..kept.clone() },
        false => new,
    };
    let (id, old) = (new.instance_id()?, kept.instance_id()?);
    if id == old {
        let said = match is_laid_over {
            true => format!("metadata as kept from {}, with the line of {origin}", kept.origin),
            false => format!("metadata from {origin}"),
        };
        return Ok(chosen(new, said));
    }
    Ok(match on_change {
        InstanceChange::Keep => {
            let what = format!("{origin} names another instance, '{id}'; this host stays '{old}'");
            chosen(kept, format!("warning: {what}"))
        }
        InstanceChange::Reprovision => {
            let said = format!("this host was '{old}' and becomes the instance '{id}'");
            Chosen { replaces: Some(old), ..chosen(new, said) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Line;

    const NETWORK: &str = "version: 2\nethernets: {nic: {addresses: [10.0.0.2/24]}}";
    const TEMPLATE: &str = "## template: jinja\n#cloud-config\nhostname: {{ vars.name }}\n";

    fn line(hostname: Option<&str>, id: Option<&str>) -> Line {
        Line {
            origin: "kernel command line".to_owned(),
            hostname: hostname.map(str::to_owned),
            instance_id: id.map(str::to_owned),
            ..Line::default()
        }
    }

    /// What a line alone is.
    fn named(hostname: Option<&str>, id: Option<&str>) -> Option<Seed> {
        line(hostname, id).alone()
    }

    /// Documents of a medium, with user-data that only metadata's values make valid.
    fn medium(meta_data: &str, line: Line) -> Seed {
        Seed {
            origin: "nocloud medium 'vdb'".to_owned(),
            meta_data: Some(meta_data.as_bytes().to_vec()),
            network_config: Some(NETWORK.as_bytes().to_vec()),
            user_data: Some(TEMPLATE.as_bytes().to_vec()),
            line,
            ..Seed::default()
        }
    }

    fn plain(id: &str) -> Seed {
        medium(&format!("instance-id: {id}"), Line::default())
    }

    fn kept(new: Option<Seed>, kept: Seed) -> Chosen {
        choose(InstanceChange::Keep, new, Some(kept)).unwrap()
    }

    #[test]
    fn a_line_alone_is_laid_over_kept_documents() {
        let first = medium("local-hostname: a", line(Some("n1"), Some("i-1")));
        for again in [
            named(Some("n1"), Some("i-1")),
            // What the line of this boot leaves out is as it was.
            named(Some("n1"), None),
            named(None, Some("i-1")),
        ] {
            let chosen = kept(again, first.clone());
            assert_eq!(
                chosen.said,
                "metadata as kept from nocloud medium 'vdb', with the line of kernel command line"
            );
            assert_eq!((chosen.seed, chosen.replaces), (Some(first.clone()), None));
        }
        let renamed = kept(named(Some("n2"), None), first.clone()).seed.unwrap();
        assert_eq!(renamed.line.hostname.as_deref(), Some("n2"));
        assert_eq!(renamed.instance_id().unwrap(), "i-1");
        assert_eq!(renamed.network_config, first.network_config);
        assert_eq!(renamed.user_data, first.user_data);
    }

    #[test]
    fn a_line_alone_may_name_another_instance() {
        let other = || named(Some("n2"), Some("i-2"));
        let stays = kept(other(), plain("i-1"));
        assert_eq!(stays.seed, Some(plain("i-1")));
        assert_eq!(
            stays.said,
            "warning: kernel command line names another instance, 'i-2'; this host stays 'i-1'"
        );
        let changes = choose(InstanceChange::Reprovision, other(), Some(plain("i-1"))).unwrap();
        assert_eq!(changes.replaces.as_deref(), Some("i-1"));
        let seed = changes.seed.unwrap();
        assert!(seed.has_documents());
        assert_eq!(seed.instance_id().unwrap(), "i-2");
    }

    #[test]
    fn a_template_in_user_data_does_not_hide_who_the_instance_is() {
        assert_eq!(plain("i-1").instance_id().unwrap(), "i-1");
        let stays = kept(Some(plain("i-2")), plain("i-1"));
        assert_eq!(stays.seed, Some(plain("i-1")));
        assert_eq!(
            stays.said,
            "warning: nocloud medium 'vdb' names another instance, 'i-2'; this host stays 'i-1'"
        );
        let same = kept(Some(plain("i-1")), plain("i-1"));
        assert_eq!((&*same.said, same.replaces), ("metadata from nocloud medium 'vdb'", None));
    }

    #[test]
    fn an_id_that_cannot_be_read_is_no_id() {
        let refusal =
            choose(InstanceChange::Keep, Some(plain("../x")), Some(plain("i"))).unwrap_err();
        assert!(
            refusal
                .to_string()
                .starts_with("nocloud medium 'vdb': meta-data:1: instance-id: expected "),
            "{refusal}"
        );
        let mut list = plain("i");
        list.meta_data = Some(b"- a".to_vec());
        assert!(choose(InstanceChange::Keep, Some(list), Some(plain("i"))).is_err());
    }

    #[test]
    fn a_host_stays_what_it_was_when_nobody_answers() {
        let server = || {
            let warnings = vec!["vendor-data is not read".to_owned()];
            Seed { origin: "http 'http://a/'".to_owned(), warnings, ..plain("i-1") }
        };
        let chosen = kept(None, server());
        assert_eq!(chosen.said, "metadata as kept from http 'http://a/'");
        assert_eq!(chosen.seed, Some(Seed { warnings: Vec::new(), ..server() }));
        assert_eq!(choose(InstanceChange::Keep, None, None).unwrap(), Chosen::default());
        let alone = choose(InstanceChange::Keep, named(Some("a"), None), None).unwrap();
        assert_eq!(alone.said, "metadata from kernel command line");
    }

    #[test]
    fn servers_decide_recheck_or_do_not_count() {
        let server = Seed { origin: "http 'http://a/'".to_owned(), ..plain("i-1") };
        let local = plain("i-1");
        let line = named(Some("a"), None);
        let all = [Source::Nocloud, Source::Http];
        for (declared, new, kept, expected) in [
            (&all[..], None, None, Servers::Decide),
            (&all, line.as_ref(), None, Servers::Decide),
            (&all, Some(&local), None, Servers::Nothing),
            (&all, None, Some(&server), Servers::Recheck),
            (&all, line.as_ref(), Some(&server), Servers::Recheck),
            (&all[..1], None, Some(&server), Servers::Nothing),
            (&all, Some(&local), Some(&server), Servers::Nothing),
            (&all, None, Some(&local), Servers::Nothing),
        ] {
            assert_eq!(servers(declared, new, kept), expected, "{declared:?} {new:?} {kept:?}");
        }
    }
}
