// SPDX-License-Identifier: Apache-2.0
//! How refusals look: what we were doing, the fact, the next step.
//!
//! Commands return [`anyhow::Error`]. The outermost context says what we were doing, the root
//! cause is the fact, and a [`Refusal`] anywhere in the chain carries the next step.

use std::{fmt, io};

/// A fact that stops the work, with what to do next if that is certain.
#[derive(Debug, thiserror::Error)]
#[error("{fact}")]
pub struct Refusal {
    fact: String,
    help: Option<String>,
    exit: Exit,
}

/// Exit status of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A build or a check said no.
    Refused = 1,
    /// Wrong usage, or a wrong cluster file or profile.
    Usage = 2,
    /// A bug of Kiln.
    Bug = 70,
    /// Ended by a signal: 128 + SIGINT, as shells count.
    Interrupted = 130,
}

/// A refusal with the next step.
pub fn refuse(fact: impl fmt::Display, help: impl fmt::Display) -> anyhow::Error {
    Refusal { fact: fact.to_string(), help: Some(help.to_string()), exit: Exit::Refused }.into()
}

/// A refusal for wrong usage or configuration, with the next step.
pub fn refuse_usage(fact: impl fmt::Display, help: impl fmt::Display) -> anyhow::Error {
    Refusal { fact: fact.to_string(), help: Some(help.to_string()), exit: Exit::Usage }.into()
}

/// The status that an error ends the program with.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<crate::diagnostic::Invalid>().is_some() {
        return Exit::Usage;
    }
    if error.downcast_ref::<crate::sys::interrupt::Interrupted>().is_some() {
        return Exit::Interrupted;
    }
    error.downcast_ref::<Refusal>().map_or(Exit::Refused, |refusal| refusal.exit)
}

/// Prints an error in its three lines; `{:#}` is for terminals.
pub struct Report<'a>(pub &'a anyhow::Error);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(invalid) = self.0.downcast_ref::<crate::diagnostic::Invalid>() {
            return fmt::Display::fmt(invalid, f);
        }
        let mut chain: Vec<String> = Vec::new();
        for error in self.0.chain() {
            let text = error.to_string();
            if chain.last() != Some(&text) {
                chain.push(text);
            }
        }
        let (first, rest) = chain.split_first().expect("an error has a text");
        write!(f, "error: {first}")?;
        if let Some((cause, middle)) = rest.split_last() {
            write!(f, "\ncause: {cause}")?;
            if !middle.is_empty() {
                write!(f, " ({})", middle.join(" / "))?;
            }
        }
        if let Some(help) = help(self.0) {
            write!(f, "\nhelp:  {help}")?;
        }
        Ok(())
    }
}

/// The next step: the refusal's own, else what is certain from the kind of an I/O error.
fn help(error: &anyhow::Error) -> Option<&str> {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.help.as_deref();
    }
    let kind = error.chain().find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()))?;
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space, or name another place with --out or --cache, and run it again")
        }
        _ => None,
    }
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_report_has_task_fact_and_next_step() {
        let error = Err::<(), _>(refuse("expected 1, found 2", "try again"))
            .context("reading the header")
            .context("building 'lb'")
            .unwrap_err();
        assert_eq!(
            Report(&error).to_string(),
            "error: building 'lb'\ncause: expected 1, found 2 (reading the header)\nhelp:  try again"
        );
        assert_eq!(exit_of(&error), Exit::Refused);
    }

    #[test]
    fn a_full_disk_names_the_next_step() {
        let error = Err::<(), _>(io::Error::from_raw_os_error(28))
            .context("writing 'out/lb/quickstart-lb.raw'")
            .context("building 'lb'")
            .unwrap_err();
        assert_eq!(
            Report(&error).to_string(),
            "error: building 'lb'\n\
             cause: No space left on device (os error 28) (writing 'out/lb/quickstart-lb.raw')\n\
             help:  free some space, or name another place with --out or --cache, and run it again"
        );
    }

    #[test]
    fn an_interrupted_program_ends_like_one_that_a_signal_killed() {
        let error = anyhow::Error::from(crate::sys::interrupt::Interrupted).context("fetching");
        assert_eq!(Report(&error).to_string(), "error: fetching\ncause: interrupted");
        assert_eq!(exit_of(&error), Exit::Interrupted);
    }
}
