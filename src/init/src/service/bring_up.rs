// SPDX-License-Identifier: Apache-2.0
//! `kiln-init bring-up FOLDER`: applies manifests once the API of this machine is ready.
//!
//! A new cluster takes its time: etcd waits for a majority, the API server for etcd. That is no
//! failure, so this waits and tries again; a unit that failed would say so on the console each time.

use std::{
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::error::{Result, While as _};

const KUBECTL: &str = "/usr/bin/kubectl";
pub(super) const KUBECONFIG: &str = "--kubeconfig=/etc/kubernetes/bring-up.conf";
const AGAIN: Duration = Duration::from_secs(3);

pub(crate) fn run(folder: &str) -> Result<()> {
    let manifests = format!("--filename={folder}");
    let steps: [&[&str]; 2] = [&["get", "--raw=/readyz"], &["apply", "--recursive", &manifests]];
    let mut last = String::new();
    for step in steps {
        while let Some(complaint) = complaint_of(step)? {
            // The same again is no news.
            if complaint != last {
                println!("waiting: {complaint}");
                last = complaint;
            }
            thread::sleep(AGAIN);
        }
    }
    Ok(())
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
