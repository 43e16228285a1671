// SPDX-License-Identifier: Apache-2.0
//! What the firmware says about the machine, by the names that cloud-init gives to the fields:
//! DMTF DSP0134, which Linux shows below `/sys/class/dmi/id`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Fields by cloud-init's name, and Linux' name of the same.
pub const FIELDS: [(&str, &str); 17] = [
    ("baseboard-asset-tag", "board_asset_tag"),
    ("baseboard-manufacturer", "board_vendor"),
    ("baseboard-product-name", "board_name"),
    ("baseboard-serial-number", "board_serial"),
    ("baseboard-version", "board_version"),
    ("bios-release-date", "bios_date"),
    ("bios-vendor", "bios_vendor"),
    ("bios-version", "bios_version"),
    ("chassis-asset-tag", "chassis_asset_tag"),
    ("chassis-manufacturer", "chassis_vendor"),
    ("chassis-serial-number", "chassis_serial"),
    ("chassis-version", "chassis_version"),
    ("system-manufacturer", "sys_vendor"),
    ("system-product-name", "product_name"),
    ("system-serial-number", "product_serial"),
    ("system-uuid", "product_uuid"),
    ("system-version", "product_version"),
];

/// Clouds that run OpenStack and say so in the chassis' asset tag.
const OPENSTACK_TAGS: [&str; 6] = [
    "OpenStack Nova",
    "OpenStack Compute",
    "OpenTelekomCloud",
    "SAP CCloud VM",
    "HUAWEICLOUD",
    "Samsung Cloud Platform",
];

/// The fields that are stated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dmi(BTreeMap<String, String>);

impl Dmi {
    /// From a function that reads a file of `/sys/class/dmi/id`.
    pub fn read(file: impl Fn(&str) -> Option<String>) -> Self {
        let field = |(name, path): &(&str, &str)| {
            let value = file(path)?.trim().to_owned();
            (!value.is_empty()).then(|| ((*name).to_owned(), value))
        };
        Self(FIELDS.iter().filter_map(field).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Xen and Nitro give instances a UUID that begins with `ec2`; older firmware has its first
    /// group in the other byte order.
    pub fn is_ec2(&self) -> bool {
        let uuid = self.get("system-uuid").unwrap_or("").to_ascii_lowercase();
        let swapped = || {
            let tail = uuid.split('-').next().and_then(|first| first.get(4..))?.as_bytes();
            Some(matches!(tail, [b'2', digit, b'e', b'c'] if digit.is_ascii_hexdigit()))
        };
        uuid.starts_with("ec2") || swapped() == Some(true)
    }

    pub fn is_openstack(&self) -> bool {
        let product = self.get("system-product-name").unwrap_or("");
        let tag = self.get("chassis-asset-tag").unwrap_or("");
        OPENSTACK_TAGS.contains(&tag) || matches!(product, "OpenStack Nova" | "OpenStack Compute")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clouds_are_known_by_their_firmware() {
        for (field, value, ec2, openstack) in [
            ("product_uuid", "ec2f58e2-cd1a-4f0b-b1a2-000000000000", true, false),
            ("product_uuid", "EC2F58E2-cd1a-4f0b-b1a2-000000000000", true, false),
            ("product_uuid", "45e12aec-dcd1-b213-94ed-01234abcdef0", true, false),
            ("product_uuid", "45e1zaec-dcd1-b213-94ed-01234abcdef0", false, false),
            ("product_uuid", "", false, false),
            ("product_uuid", "éé", false, false),
            ("product_name", "OpenStack Nova\n", false, true),
            ("chassis_asset_tag", "HUAWEICLOUD", false, true),
            ("product_name", "HUAWEICLOUD", false, false),
        ] {
            let dmi = Dmi::read(|path| (path == field).then(|| value.to_owned()));
            assert_eq!((dmi.is_ec2(), dmi.is_openstack()), (ec2, openstack), "{field} {value}");
        }
    }
}
