// SPDX-License-Identifier: Apache-2.0
//! nginx on loopback, as a neighbor to compare with.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

/// nginx with a configuration; it ends with this value.
pub(crate) struct Nginx(pub(crate) Child);

impl Nginx {
    /// With its own files beside the configuration.
    pub(crate) fn start(configuration: &Path, port: u16) -> Self {
        let folder = configuration.parent().unwrap();
        let child = Command::new("/usr/sbin/nginx")
            .arg("-c")
            .arg(configuration)
            .arg("-p")
            .arg(folder)
            .args(["-e", "stderr", "-g"])
            .arg(format!("daemon off; user root; pid {};", folder.join("pid").display()))
            .spawn()
            .unwrap();
        let nginx = Self(child);
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return nginx;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("nginx does not listen");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only if it is asked.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
