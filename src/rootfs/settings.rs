// SPDX-License-Identifier: Apache-2.0
//! The small files that say what the system is: os-release, names, sysctls, alternatives.

use kiln_contract::path::OS_RELEASE;

use super::{Error, draft::Draft};

const STAGE: &str = "settings";

/// Commands that Debian links by update-alternatives: the command and what it is, in the same
/// folder, the first that exists.
const ALTERNATIVES: [(&str, &str); 16] = [
    ("/usr/sbin/iptables", "iptables-nft"),
    ("/usr/sbin/iptables-save", "iptables-nft-save"),
    ("/usr/sbin/iptables-restore", "iptables-nft-restore"),
    ("/usr/sbin/ip6tables", "ip6tables-nft"),
    ("/usr/sbin/ip6tables-save", "ip6tables-nft-save"),
    ("/usr/sbin/ip6tables-restore", "ip6tables-nft-restore"),
    ("/usr/sbin/arptables", "arptables-nft"),
    ("/usr/sbin/arptables-save", "arptables-nft-save"),
    ("/usr/sbin/arptables-restore", "arptables-nft-restore"),
    ("/usr/sbin/ebtables", "ebtables-nft"),
    ("/usr/sbin/ebtables-save", "ebtables-nft-save"),
    ("/usr/sbin/ebtables-restore", "ebtables-nft-restore"),
    ("/usr/bin/awk", "gawk"),
    ("/usr/bin/awk", "mawk"),
    ("/usr/bin/which", "which.debianutils"),
    ("/usr/bin/pager", "more"),
];

/// Writes all of them; returns the text of os-release.
pub(super) fn write(draft: &mut Draft<'_>) -> Result<String, Error> {
    let os_release = os_release(draft)?;
    draft.write(OS_RELEASE, &os_release, STAGE)?;
    names(draft)?;
    kernel(draft)?;
    for (command, target) in ALTERNATIVES {
        let folder = command.rsplit_once('/').map_or("", |(folder, _)| folder);
        if draft.has(&format!("{folder}/{target}")) && !draft.has(command) {
            draft.link(command, target, STAGE)?;
        }
    }
    Ok(os_release)
}

/// Debian's os-release with our image's name and version (os-release(5)).
fn os_release(draft: &Draft<'_>) -> Result<String, Error> {
    let mut text = draft
        .text(OS_RELEASE)?
        .ok_or(Error::Missing { what: "os-release", package: "base-files" })?;
    let plan = draft.plan;
    let id = format!("{}-{}", plan.cluster.name, plan.profile.role);
    for (key, value) in [("IMAGE_ID", &id), ("IMAGE_VERSION", &plan.cluster.version)] {
        text += &format!("{key}={}\n", shell_quoted(value));
    }
    Ok(text)
}

/// A value for os-release, which shells read: in double quotes.
fn shell_quoted(value: &str) -> String {
    let mut quoted = String::from("\"");
    for character in value.chars() {
        if matches!(character, '"' | '$' | '`' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted + "\""
}

/// Names of the machine before first boot gives it its own, and where names are looked up.
fn names(draft: &mut Draft<'_>) -> Result<(), Error> {
    // Empty, so that no two machines share it: kiln-init makes one at first boot.
    draft.write_mode("/etc/machine-id", 0o444, "", STAGE)?;
    draft.write("/etc/hostname", format!("{}\n", draft.plan.profile.role), STAGE)?;
    let hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
    draft.write("/etc/hosts", hosts, STAGE)?;
    draft.link("/etc/mtab", "../proc/self/mounts", STAGE)?;
    if draft.has("/usr/share/zoneinfo/Etc/UTC") {
        draft.link("/etc/localtime", "../usr/share/zoneinfo/Etc/UTC", STAGE)?;
    }
    if draft.has("/usr/lib/systemd/system/systemd-resolved.service") {
        draft.link("/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf", STAGE)?;
    }
    Ok(())
}

/// What the profile sets in the kernel.
fn kernel(draft: &mut Draft<'_>) -> Result<(), Error> {
    let profile = &draft.plan.profile;
    let sysctls = profile.sysctl.iter().map(|(key, value)| format!("{key} = {value}\n"));
    // Later names win, and packages have files up to 99-*: the profile has the last word.
    draft.write("/usr/lib/sysctl.d/zz-kiln.conf", sysctls.collect::<String>(), STAGE)?;
    let modules = profile.kernel.modules.iter().map(|name| format!("{name}\n"));
    draft.write("/usr/lib/modules-load.d/kiln.conf", modules.collect::<String>(), STAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_os_release_survive_a_shell() {
        assert_eq!(shell_quoted("1.2"), "\"1.2\"");
        assert_eq!(shell_quoted("a\"$b\\"), "\"a\\\"\\$b\\\\\"");
    }
}
