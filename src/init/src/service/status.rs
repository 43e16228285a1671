// SPDX-License-Identifier: Apache-2.0
//! `kiln-init status`: what first boot did.

use std::time::Duration;

use kiln_contract::path::FIRST_BOOT;
use kiln_init::{first_boot::FirstBoot, source::Answer};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Result, While as _},
    spent::Spent,
};

/// [`FIRST_BOOT`]: no values of metadata beyond names and addresses.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Summary {
    /// Sources in the order in which they count.
    pub(crate) sources: Vec<Answer>,
    origin: String,
    instance_id: String,
    hostname: String,
    address: Option<String>,
    files: Vec<String>,
    warnings: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

/// The end of a step. Times are seconds since the start of PID 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Step {
    step: String,
    after: f64,
    /// Of these: on the processor for this program, when it did not wait.
    own: f64,
}

impl Step {
    /// A step's end after `total`.
    pub(crate) fn new(name: &str, total: Spent) -> Self {
        let [after, own] = [total.wall, total.processor].map(seconds);
        Self { step: name.to_owned(), after, own }
    }

    /// Where the time went; what is left over was waited: for devices, their drivers, servers.
    pub(crate) fn shares(&self) -> String {
        let waiting = (self.after - self.own).max(0.0);
        format!("own {:.2}, waiting {waiting:.2}", self.own)
    }
}

/// To the millisecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

impl Summary {
    pub(crate) fn new(decision: &FirstBoot, sources: Vec<Answer>, steps: Vec<Step>) -> Self {
        let instance = &decision.instance;
        Self {
            sources,
            origin: instance.origin.clone(),
            instance_id: instance.instance_id.clone(),
            hostname: instance.hostname.clone(),
            address: instance.address.clone(),
            files: decision.files.iter().map(|file| file.path.clone()).collect(),
            warnings: decision.warnings.clone(),
            steps,
        }
    }

    pub(crate) fn read() -> Result<Self> {
        serde_json::from_slice(&super::read(FIRST_BOOT)?)
            .during(format_args!("reading '{FIRST_BOOT}'"))
    }
}

pub(crate) fn run() -> Result<()> {
    print!("{}", shown(&Summary::read()?));
    Ok(())
}

fn shown(summary: &Summary) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| text.push_str(&format!("{key:<11}{value}\n"));
    line("host", &summary.hostname);
    line("address", summary.address.as_deref().unwrap_or("by DHCP"));
    line("instance", &summary.instance_id);
    line("metadata", &summary.origin);
    for Answer { source, said } in &summary.sources {
        line("source", &format!("{source}: {said}"));
    }
    for step in &summary.steps {
        line("step", &format!("{} after {:.3} s ({})", step.step, step.after, step.shares()));
    }
    for file in &summary.files {
        line("file", file);
    }
    for warning in &summary.warnings {
        line("warning", warning);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_shown_a_line_for_each_fact() {
        let ms = Duration::from_millis;
        let summary = Summary {
            sources: vec![Answer { source: "nocloud".into(), said: "has the documents".into() }],
            origin: "nocloud on 'sr0'".into(),
            instance_id: "i-1".into(),
            hostname: "a".into(),
            address: None,
            files: vec!["/etc/hostname".into()],
            warnings: vec!["w".into()],
            steps: vec![Step::new("root opened", Spent { wall: ms(1500), processor: ms(500) })],
        };
        let expected = "\
host       a
address    by DHCP
instance   i-1
metadata   nocloud on 'sr0'
source     nocloud: has the documents
step       root opened after 1.500 s (own 0.50, waiting 1.00)
file       /etc/hostname
warning    w
";
        assert_eq!(shown(&summary), expected);
    }
}
