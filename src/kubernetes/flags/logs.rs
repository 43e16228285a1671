// SPDX-License-Identifier: Apache-2.0
//! Flags of logging. Those that chose files went away with 1.26 from all programs but kube-proxy,
//! whose reference page still has them in 1.32: for it, nothing is claimed.

use super::Flag;

const KEP: &str = "KEP 2845, PR 112120";
const BOTH: &str = "component-base/logs of v1.20.2, reference pages of 1.35 and 1.36";
const JOURNAL: &str = "leave it out: programs log to stderr and the journal keeps it";

const fn gone(name: &'static str) -> Flag {
    Flag::removed(name, 26, JOURNAL, KEP).deprecated(23, JOURNAL)
}

/// All five programs have them.
pub(super) static FLAGS: &[Flag] = &[
    Flag::new("log-flush-frequency", BOTH),
    Flag::new("logging-format", BOTH),
    Flag::new("v", BOTH),
    Flag::new("vmodule", BOTH),
];

/// All but kube-proxy had them.
pub(super) static FILES: &[Flag] = &[
    gone("add-dir-header"),
    gone("alsologtostderr"),
    gone("log-backtrace-at"),
    gone("log-dir"),
    gone("log-file"),
    gone("log-file-max-size"),
    gone("logtostderr"),
    gone("one-output"),
    gone("skip-headers"),
    gone("skip-log-headers"),
    gone("stderrthreshold"),
];
