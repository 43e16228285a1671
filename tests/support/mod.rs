// SPDX-License-Identifier: Apache-2.0
//! What several subjects share: a fresh folder, the kiln program, foreign tools.

pub(crate) mod archive;
pub mod debian_apt;
pub(crate) mod workspace;
