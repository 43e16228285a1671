// SPDX-License-Identifier: Apache-2.0
use super::{Error, draft::Draft};
pub(super) fn write(_draft: &mut Draft<'_>) -> Result<(), Error> { Ok(()) }
