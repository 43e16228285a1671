// SPDX-License-Identifier: Apache-2.0
//! ssh, in an image that has the server: keys instead of passwords, and host keys of the machine.
//!
//! Debian's package makes its configuration and its host keys when it is installed; an image for
//! many machines must have neither. `kiln-ssh.service` makes the keys in `/var`, and metadata
//! gives each account its own file of authorized keys.

use kiln_contract::path;

use super::{Error, draft::Draft, services::SANDBOX};
use crate::systemd::Unit;

const STAGE: &str = "ssh";
pub(super) const UNIT: &str = "kiln-ssh.service";
const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// Whether the image has an ssh server.
pub(super) fn is_there(draft: &Draft<'_>) -> bool {
    draft.has("/usr/sbin/sshd")
}

/// The server's configuration and the unit that makes its keys, if there is a server.
pub(super) fn write(draft: &mut Draft<'_>) -> Result<(), Error> {
    if !is_there(draft) {
        return Ok(());
    }
    let mut text = format!(
        "# The first value of a key counts: files of overlays come before what Kiln sets.\n\
         Include /etc/ssh/sshd_config.d/*.conf\n\
         HostKey {ssh}/ssh_host_ed25519_key\n\
         HostKey {ssh}/ssh_host_ecdsa_key\n\
         # Written at first boot from metadata; nothing below a home counts.\n\
         AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n\
         UsePAM yes\n\
         PrintMotd no\n",
        ssh = path::SSH
    );
    if draft.has(SFTP_SERVER) {
        text += &format!("Subsystem sftp {SFTP_SERVER}\n");
    }
    draft.write("/etc/ssh/sshd_config", text, STAGE)?;
    draft.write(&format!("/usr/lib/systemd/system/{UNIT}"), unit(), STAGE)
}

/// After `kiln-state.service`, which removes the keys of a machine that becomes another instance.
fn unit() -> String {
    Unit::new("Host keys of ssh in /var")
        .set("RequiresMountsFor", "/var")
        .set("After", "kiln-state.service")
        .set("Before", "ssh.service ssh.socket")
        .section("Service")
        .set("Type", "oneshot")
        .set("RemainAfterExit", "yes")
        .set("ExecStart", format_args!("{} ssh-keys", path::INIT_IN_ROOT))
        .set_all(&SANDBOX)
        .section("Install")
        .set("WantedBy", "multi-user.target")
        .set("RequiredBy", "ssh.service ssh.socket")
        .text()
}
