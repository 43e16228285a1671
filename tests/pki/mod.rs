// SPDX-License-Identifier: Apache-2.0
//! The cluster's certificates: the table of them as a golden file, what `kiln pki` makes judged
//! by openssl, and the exact words of refusals.

mod bench;
mod certificates;
mod files;
mod refusals;
