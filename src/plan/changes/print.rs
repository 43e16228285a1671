// SPDX-License-Identifier: Apache-2.0
//! Changes for people: what differs, then what to do.

use std::fmt;

use super::{CertificateChange, Change, Changes, HostChange};

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "no machine has to change");
        }
        section(f, "hosts", &self.hosts, "the same")?;
        let images = self.images.iter().map(|it| format!("{}: {}", it.role, it.because.join(", ")));
        section(f, "images to build again", images, "none")?;
        section(f, "certificates to issue", &self.certificates, "none")?;
        let seeds = (!self.seeds.is_empty()).then(|| self.seeds.join(", "));
        section(f, "seeds to write again", seeds, "none")?;
        writeln!(f, "steps")?;
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(f, "  {number}. {}", step.what)?;
            for line in &step.paste {
                writeln!(f, "       {line}")?;
            }
        }
        Ok(())
    }
}

fn section<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl IntoIterator<Item = T>,
    nothing: &str,
) -> fmt::Result {
    writeln!(f, "{title}")?;
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        writeln!(f, "  {nothing}")?;
    }
    lines.try_for_each(|line| writeln!(f, "  {line}"))
}

impl fmt::Display for HostChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.change {
            Change::Added { role, address } => write!(f, "+ {host}: {role}, {address}"),
            Change::Removed { role, address } => write!(f, "- {host}: {role}, {address}"),
            Change::Role { from, to } => write!(f, "~ {host}: role {from} becomes {to}"),
            Change::Address { from, to } => write!(f, "~ {host}: address {from} becomes {to}"),
            Change::Metadata => write!(f, "~ {host}: its metadata"),
        }
    }
}

impl fmt::Display for CertificateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.holder, self.certificate)?;
        let signed = |sign: char, names: &[String]| {
            names.iter().map(|name| format!(" {sign}{name}")).collect::<String>()
        };
        let names = signed('+', &self.gains) + &signed('-', &self.loses);
        if names.is_empty() { f.write_str(": new") } else { write!(f, ":{names}") }
    }
}
