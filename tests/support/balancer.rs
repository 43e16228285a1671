// SPDX-License-Identifier: Apache-2.0
//! A load balancer whose haproxy dies: what systemd and keepalived make of it.

use std::net::Ipv4Addr;

use super::guest::{Checks, Guest};

const MAIN_PID: &str = "systemctl show --value --property=MainPID haproxy.service";

/// Kills the proxy of a balancer, all its processes at once; systemd is to start it again.
pub(crate) fn kill_proxy(checks: &mut Checks<'_>, balancer: &mut Guest) {
    let kill = format!("{MAIN_PID} >/run/killed; systemctl kill --signal=KILL haproxy.service");
    checks.prints("the proxy is killed", balancer, &kill, "");
}

/// Another proxy runs than the one that was killed.
pub(crate) fn check_restarted(checks: &mut Checks<'_>, balancer: &mut Guest) {
    let commands = format!(
        "for try in $(seq 60); do if systemctl is-active --quiet haproxy.service \
         && [ \"$({MAIN_PID})\" != \"$(cat /run/killed)\" ]; then echo active; break; fi; \
         sleep 1; done"
    );
    checks.prints("systemd starts the killed proxy again", balancer, &commands, "active");
}

/// Neither the kernel nor a fault has ended a process of keepalived.
pub(crate) fn check_keepalived(checks: &mut Checks<'_>, balancer: &mut Guest) {
    let commands = "case $(journalctl --boot --unit=keepalived.service --quiet --output=cat) \
                    in *died*) echo died;; esac";
    checks.prints("keepalived has lived through all of it", balancer, commands, "");
}

/// A balancer has the virtual address, and has had it for so long that a dead proxy would have
/// been noticed meanwhile.
pub(crate) fn check_holds(checks: &mut Checks<'_>, balancer: &mut Guest, vip: Ipv4Addr) {
    let commands = format!(
        "n=0; for try in $(seq 120); do \
         if [ \"$(ip -4 -oneline address show to {vip}/32)\" ]; then n=$((n+1)); else n=0; fi; \
         [ $n = 10 ] && echo held && break; sleep 1; done"
    );
    checks.prints("the address stays with the balancer or returns", balancer, &commands, "held");
}
