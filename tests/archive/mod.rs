// SPDX-License-Identifier: Apache-2.0
//! From archives to a lock and to packages in the cache, with a network that misbehaves.

mod bundle;
mod fetch;
mod lock;
mod mixed;
mod release;
