// SPDX-License-Identifier: Apache-2.0
//! `kiln publish` and `kiln pull`: against places that misbehave, against Debian's registry, and, with
//! `make test-publish`, against an S3-compatible server that checks signatures.

mod bench;
mod bucket;
mod real;
mod registry;
mod registry_pull;
mod stores;
