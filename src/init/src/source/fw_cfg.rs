// SPDX-License-Identifier: Apache-2.0
//! QEMU's fw_cfg: items `opt/org.kiln/meta-data`, `…/network-config` and `…/user-data`.

use std::io;

use kiln_contract::FW_CFG_PREFIX;

use super::{Error, Machine};
use crate::metadata::Seed;

/// The documents among the items; none if there is none, or no QEMU.
pub(super) fn read(machine: &mut dyn Machine) -> Result<Option<Seed>, Error> {
    let mut item = |name: &str| {
        let item = format!("{FW_CFG_PREFIX}{name}");
        machine.fw_cfg(&item).map_err(|error: io::Error| Error::FwCfg { item, error })
    };
    let seed = Seed {
        origin: "fw-cfg".to_owned(),
        meta_data: item("meta-data")?,
        network_config: item("network-config")?,
        user_data: item("user-data")?,
        ..Seed::default()
    };
    Ok(seed.has_documents().then_some(seed))
}
