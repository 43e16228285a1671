// SPDX-License-Identifier: Apache-2.0
//! Debian archives as data: which packages an image needs, that they are genuine, what they hold.
//!
//! ```text
//! InRelease bytes  -> release::verify      signed by a key of the Keyring, in date, of this suite
//! Packages.xz bytes -> index::decompress -> index::parse -> Package
//! Packages of all archives -> solve::Universe; names asked for -> solve -> Solution
//! .deb bytes -> deb::control, deb::data_tar -> deb::entries
//! ```
//!
//! Everything here is pure: bytes and values in, values out. Fetching is `fetch`'s work.
//! No maintainer script is ever read, far less run.

pub mod control;
pub mod date;
pub mod deb;
pub mod dependency;
pub mod index;
pub mod keyring;
pub mod release;
pub mod solve;
pub mod version;
