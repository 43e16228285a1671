// SPDX-License-Identifier: Apache-2.0
//! `kiln-init await-api` and `kiln-init bring-up FOLDER`: waits until the API of this machine is
//! ready; applies manifests.
//!
//! A new cluster takes its time: etcd waits for a majority, the API server for etcd. That is no
//! failure, so this waits and tries again; a unit that failed would say so on the console each time.
//! Until somebody listens there is nothing to ask, and kubectl costs a second of the processor that
//! the API server starts on.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kiln_contract::API_PORT;

use super::instance;
use crate::error::{Result, While as _};

const KUBECTL: &str = "/usr/bin/kubectl";
pub(super) const KUBECONFIG: &str = "--kubeconfig=/etc/kubernetes/bring-up.conf";
const AGAIN: Duration = Duration::from_secs(5);

pub(crate) fn wait() -> Result<()> {
    // By DHCP it is not known here, and kubectl finds out as well.
    let address = instance()?.address;
    if let Some(ip) = address.as_deref().and_then(|it| it.split('/').next()?.parse().ok()) {
        wait_for_listener(SocketAddr::new(ip, API_PORT));
    }
    insist(&["get", "--raw=/readyz"])
}

pub(crate) fn apply(folder: &str) -> Result<()> {
    insist(&["apply", "--recursive", &format!("--filename={folder}")])
}

/// Runs kubectl until it succeeds, for a third of the time at most: on a slow machine it takes from
/// the API server what that one is not ready for want of.
fn insist(arguments: &[&str]) -> Result<()> {
    let mut last = String::new();
    let mut begun = Instant::now();
    while let Some(complaint) = complaint_of(arguments)? {
        // The same again is no news.
        if complaint != last {
            println!("waiting: {complaint}");
            last = complaint;
        }
        thread::sleep(AGAIN.max(2 * begun.elapsed()));
        begun = Instant::now();
    }
    Ok(())
}

fn wait_for_listener(server: SocketAddr) {
    let mut last = None;
    while let Err(error) = TcpStream::connect_timeout(&server, AGAIN) {
        if last.replace(error.kind()) != Some(error.kind()) {
            println!("waiting: {server}: {error}");
        }
        thread::sleep(AGAIN);
    }
}

/// Runs kubectl; what it says if it fails.
fn complaint_of(arguments: &[&str]) -> Result<Option<String>> {
    let output = Command::new(KUBECTL)
        .arg(KUBECONFIG)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .during("starting kubectl")?;
    if output.status.success() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
