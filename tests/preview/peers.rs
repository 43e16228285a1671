// SPDX-License-Identifier: Apache-2.0
//! Hosts in metadata that must not get into configuration files.

/// A name that says what is wrong, and the document.
pub(super) const META_DATA: &[(&str, &str)] = &[
    ("peers-is-a-list", "vars: {peers: [m1]}"),
    ("peers-is-nothing", "vars: {peers: }"),
    ("peers-unknown-list", "vars: {peers: {nodes: []}}"),
    ("peers-empty-list", "vars: {peers: {masters: []}}"),
    ("peers-unknown-key", "vars: {peers: {etcd: [{name: a, address: 10.0.0.1, port: 2379}]}}"),
    ("peers-without-address", "vars: {peers: {etcd: [{name: a}]}}"),
    ("peers-address-with-a-port", "vars: {peers: {etcd: [{name: a, address: '10.0.0.1:80'}]}}"),
    ("peers-address-is-a-name", "vars: {peers: {etcd: [{name: a, address: evil.example}]}}"),
    (
        "peers-address-with-a-directive",
        "vars: {peers: {masters: [{name: a, address: '10.0.0.1; } http { server { listen 80; }'}]}}",
    ),
    (
        "peers-name-with-a-second-line",
        "vars: {peers: {masters: [{name: \"a\\n    server evil\", address: 10.0.0.1}]}}",
    ),
    (
        "peers-name-is-a-template",
        "vars: {peers: {etcd: [{name: '{{ hostname }}', address: 10.0.0.1}]}}",
    ),
    ("peers-name-with-options", "vars: {peers: {masters: [{name: a ssl, address: 10.0.0.1}]}}"),
    (
        "peers-name-twice",
        "vars: {peers: {masters: [{name: a, address: 10.0.0.1}, {name: a, address: 10.0.0.2}]}}",
    ),
];
