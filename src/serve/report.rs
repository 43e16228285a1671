// SPDX-License-Identifier: Apache-2.0
//! What kiln-init reports of a first boot. Anybody can send one, so every part has its limit and
//! nothing of it is believed to be more than text.

use serde::Deserialize;

/// Characters of one text.
const TEXT_MAX: usize = 500;
const WARNINGS_MAX: usize = 20;

/// How far a host is, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Said {
    Configured,
    Stopped,
    Ready,
    NotReady,
}

/// One report.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    pub(super) phase: Said,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) role: String,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) root_hash: String,
    #[serde(default)]
    pub(super) first_boot: FirstBoot,
}

/// What of `/run/kiln/first-boot.json` is shown.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct FirstBoot {
    #[serde(default)]
    pub(super) hostname: String,
    #[serde(default)]
    pub(super) address: Option<String>,
    #[serde(default)]
    pub(super) warnings: Vec<String>,
}

impl Report {
    /// # Errors
    /// It is none; the reason.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut report: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let first_boot = &mut report.first_boot;
        first_boot.warnings.truncate(WARNINGS_MAX);
        let texts = [
            &mut report.message,
            &mut report.role,
            &mut report.version,
            &mut report.root_hash,
            &mut first_boot.hostname,
        ];
        let texts =
            texts.into_iter().chain(&mut first_boot.address).chain(&mut first_boot.warnings);
        texts.for_each(|text| *text = short(text));
        Ok(report)
    }
}

/// Without what terminals and browsers act upon, and not longer than people read.
fn short(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut short: String = text.chars().take(TEXT_MAX).map(shown).collect();
    if text.chars().nth(TEXT_MAX).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_report_of_first_boot_is_read() {
        let text = r#"{"phase":"not-ready","message":"etcd.service: failed","role":"master","version":"7",
            "root-hash":"ab","first-boot":{"sources":[],"origin":"http","instance-id":"i","hostname":"m1",
            "address":null,"files":["/etc/x"],"warnings":["w"],"steps":[{"step":"s","after":1.0,"own":0.5}]}}"#;
        let report = Report::parse(text.as_bytes()).unwrap();
        assert_eq!((report.phase, &*report.first_boot.hostname), (Said::NotReady, "m1"));
        assert_eq!(report.first_boot.warnings, ["w"]);
        assert_eq!(Report::parse(br#"{"phase":"ready"}"#).unwrap().phase, Said::Ready);
    }

    #[test]
    fn what_is_none_is_refused_and_what_is_long_is_cut() {
        for text in
            ["", "[]", "{}", r#"{"phase":"x"}"#, r#"{"phase":"ready","message":1}"#, "\u{1}"]
        {
            assert!(Report::parse(text.as_bytes()).is_err(), "{text}");
        }
        let long = serde_json::json!({ "phase": "stopped", "message": "\u{1b}[2J".to_owned() + &"x".repeat(9999) });
        let message = Report::parse(long.to_string().as_bytes()).unwrap().message;
        assert_eq!(message.chars().count(), TEXT_MAX + 1);
        assert!(message.starts_with("\u{fffd}[2J") && message.ends_with('…'), "{message}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_report_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Report::parse(&bytes);
        }
    }
}
