// SPDX-License-Identifier: Apache-2.0
//! First boot's own client at `kiln serve`: documents by the URL of a boot script, and a report.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use kiln_init::handoff::Source;
use kiln_init::remote::{
    self, Facts, Place,
    client::Client,
    dmi::Dmi,
    http::{Connection, Network},
    url::{Host, Url},
};

use super::site::{MAC, Site};

struct Sockets(Instant);

impl Network for Sockets {
    fn connect(&mut self, url: &Url, limit: Duration) -> io::Result<Box<dyn Connection>> {
        let Host::Ip(ip) = url.host else { unreachable!("tests use addresses") };
        Ok(Box::new(Tcp(TcpStream::connect_timeout(&(ip, url.port).into(), limit)?)))
    }

    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

struct Tcp(TcpStream);

impl Connection for Tcp {
    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
        self.0.set_read_timeout(Some(limit))?;
        self.0.read(buffer)
    }

    fn write(&mut self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        self.0.set_write_timeout(Some(limit))?;
        self.0.write_all(bytes)
    }
}

#[test]
fn first_boot_finds_its_documents_and_reports() {
    let site = Site::new(b"root");
    let served = site.serve(&[]);
    let script = served.get(&format!("/hosts/{MAC}/boot.ipxe")).text();
    let command_line = script.lines().find_map(|line| line.strip_prefix("set kiln-arguments "));
    let command_line = command_line.unwrap();
    let dmi = Dmi::default();
    let planned = remote::plan(&[Source::Http], command_line, None, None, &dmi).unwrap();
    let facts = Facts { dmi, interface: "eth0".into(), mac: MAC.replace('-', ":") };
    let mut network = Sockets(Instant::now());
    let mut client = Client::new(&mut network, Duration::from_secs(30));
    let seed = planned.asks[0].documents(&facts, &mut client).unwrap().unwrap();
    assert!(seed.network_config.is_some() && seed.user_data.is_some());
    assert_eq!(seed.warnings, [""; 0]);
    let place: Place = remote::report_place(command_line, &[]).unwrap().unwrap();
    let url = place.url("report", &facts).unwrap();
    client.post(&url, br#"{"phase":"ready","message":"ready role=lb"}"#).unwrap();
    served.wait_for("lb-1 (127.0.0.1): boot script");
    served.wait_for("lb-1 (127.0.0.1): meta-data");
    served.wait_for("lb-1 (127.0.0.1): ready: ready role=lb");
    // A server that takes none says so, and that is all.
    let url = Url::parse(&format!("http://{}/boot.ipxe", served.address("http"))).unwrap();
    assert!(client.post(&url, b"{}").is_err());
}
