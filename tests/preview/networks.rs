// SPDX-License-Identifier: Apache-2.0
//! Networks that look like what documentation shows, and are not.

/// A name that says what is wrong, and the document.
pub(super) const NETWORK: &[(&str, &str)] = &[
    (
        "network-id-with-a-match-is-a-path",
        "version: 2\nethernets: {'../x': {match: {name: eth0}, dhcp4: true}}",
    ),
];
