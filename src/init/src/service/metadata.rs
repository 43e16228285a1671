// SPDX-License-Identifier: Apache-2.0
//! `kiln-init metadata`: asks the remote sources that the initramfs left, and makes the host what
//! they say.
//!
//! Without an answer that the host can use it says so on every console and holds: nothing that is
//! ordered behind it may start as somebody else.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use kiln_contract::path::{FIRST_BOOT, INSTANCE, PENDING, SEED};
use kiln_init::{
    first_boot::{self, FirstBoot, Instance, MachineId},
    handoff::{Absent, Handoff, Invalid, Phase},
    metadata::{Line, Seed},
    remote::{
        self, Ask,
        client::Client,
        dmi::Dmi,
        http::{Connection, Network},
        url::{Host, Url},
    },
    source::{Answer, Search},
};
use rustix::system::RebootCommand;
use serde::{Deserialize, Serialize};

use super::{
    command, handoff, instance,
    netlink::{addresses, default_interface},
    report,
    resolve::{self, RESOLVED},
    status::{Step, Summary},
};
use crate::{
    console::say,
    error::{Result, Stop, While as _},
    files::{Below, private},
    pid1::{on_failure, read_templates, system},
    spent::Moment,
};

/// Servers are slower than disks, whatever the image says of the latter.
const LEAST: Duration = Duration::from_secs(60);
/// How long a message stays on the screen before the machine goes.
const READING_TIME: Duration = Duration::from_secs(10);
const DMI: &str = "/sys/class/dmi/id";
const PROVISIONAL_NETWORK: &str = "/etc/systemd/network/10-kiln-dhcp.network";

/// What the initramfs leaves to be asked ([`PENDING`]).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Pending {
    pub(super) asks: Vec<Ask>,
    line: Line,
}

impl Pending {
    /// Whom to ask, if the search found nothing and there is somebody; why others are not asked
    /// is put among the answers.
    pub(crate) fn of(
        handoff: &Handoff,
        search: &Search,
        answers: &mut [Answer],
    ) -> Result<Option<Self>> {
        let declared = search.remote();
        if declared.is_empty() {
            return Ok(None);
        }
        let command_line = command_line()?;
        let seedfrom = search.line().and_then(|line| line.seed_url.as_deref());
        let url = handoff.url.as_deref();
        let planned = remote::plan(&declared, &command_line, url, seedfrom, &dmi()).or_stop()?;
        for (source, why) in &planned.silent {
            let answer = answers.iter_mut().find(|answer| answer.source == source.word());
            answer.into_iter().for_each(|answer| (*why).clone_into(&mut answer.said));
        }
        let line = search.line().cloned().unwrap_or_default();
        Ok(Some(Self { asks: planned.asks, line }).filter(|pending| !pending.asks.is_empty()))
    }

    /// With the keys of a line that an earlier boot had.
    pub(crate) fn over(self, line: &Line) -> Self {
        Self { line: self.line.over(line), ..self }
    }
}

pub(super) fn command_line() -> Result<String> {
    fs::read_to_string("/proc/cmdline").during("reading /proc/cmdline")
}

pub(super) fn dmi() -> Dmi {
    Dmi::read(|file| fs::read_to_string(format!("{DMI}/{file}")).ok())
}

pub(crate) fn run() -> Result<()> {
    match become_somebody() {
        Ok(()) => Ok(()),
        Err(stop) => {
            say(format_args!("first boot stopped: {stop}"));
            report::send("stopped", &stop.to_string());
            if let Some(choice) = on_failure() {
                thread::sleep(READING_TIME);
                let verb = if choice == RebootCommand::Restart { "reboot" } else { "poweroff" };
                command("systemctl", verb)?;
            }
            loop {
                thread::park();
            }
        }
    }
}

fn become_somebody() -> Result<()> {
    let started = Moment::now();
    let handoff = handoff()?;
    let pending: Pending = serde_json::from_slice(&super::read(PENDING)?)
        .during(format_args!("reading '{PENDING}'"))?;
    let mut summary = Summary::read()?;
    let seed = match ask(&handoff, &pending, &mut summary.sources) {
        Err(stop) if handoff.invalid == Invalid::Fallback => {
            say(format_args!("warning: {stop}"));
            None
        }
        other => other?,
    };
    // As without a server: a line alone is enough. It is not kept, so that the next boot asks again.
    let delivered = seed.is_some();
    let seed = seed.or_else(|| pending.line.alone());
    let tried: Vec<&'static str> = pending.asks.iter().map(|ask| ask.source().word()).collect();
    if seed.is_none() && handoff.absent == Absent::Refuse {
        return Err(Stop::new(format_args!(
            "no metadata, which this image needs: asked {}",
            tried.join(", ")
        )));
    }
    if let Some(seed) = &seed {
        say(format_args!("metadata from {}", seed.origin));
    }
    let machine_id = machine_id(&instance()?)?;
    let templates = read_templates(&handoff, Phase::Initramfs)?;
    let decision = first_boot::decide(&first_boot::Facts {
        handoff: &handoff,
        seed: seed.as_ref(),
        tried: &tried,
        machine_id: &machine_id,
        system: &system()?,
        templates: &templates,
    })
    .or_stop()?;
    for warning in &decision.warnings {
        say(format_args!("warning: {warning}"));
    }
    let asked = Step::new("servers asked", started.elapsed());
    let mut steps = summary.steps;
    steps.push(asked);
    apply(&decision, seed.as_ref().filter(|_| delivered), summary.sources, steps)
}

pub(super) fn machine_id(instance: &Instance) -> Result<MachineId> {
    let damaged = |()| Stop::new("the instance's machine id is damaged");
    instance.machine_id.parse().map_err(damaged)
}

/// The first answer with documents; what everybody said is put among the answers.
pub(super) fn ask(
    handoff: &Handoff,
    pending: &Pending,
    answers: &mut [Answer],
) -> Result<Option<Seed>> {
    let Some((interface, mac)) = interface()? else {
        say("no metadata from servers: no interface has an address, so nobody can be asked");
        return Ok(None);
    };
    let facts = remote::Facts { dmi: dmi(), interface, mac };
    let budget = LEAST.max(Duration::from_secs(u64::from(handoff.source_wait)));
    let mut network = Sockets::new();
    let mut silent = Vec::new();
    for ask in &pending.asks {
        let word = ask.source().word();
        say(format_args!("asking {word} for metadata, up to {} s", budget.as_secs()));
        let mut client = Client::new(&mut network, budget);
        let (said, seed) = match ask.documents(&facts, &mut client) {
            Ok(Some(seed)) => ("has the documents".to_owned(), Some(seed)),
            Ok(None) => (format!("{word} has nothing for this host"), None),
            Err(remote::Error::Silent(why)) => (why, None),
            Err(remote::Error::Refused(why)) => return Err(Stop::new(why)),
        };
        let answer = answers.iter_mut().find(|answer| answer.source == word);
        answer.into_iter().for_each(|answer| answer.said.clone_from(&said));
        if let Some(seed) = seed {
            return Ok(Some(Seed { line: pending.line.clone(), ..seed }));
        }
        silent.push(said);
    }
    say(format_args!("no metadata from servers: {}", silent.join("; ")));
    Ok(None)
}

/// The interface that leads to the servers: the default route's, else the first with an address.
pub(super) fn interface() -> Result<Option<(String, String)>> {
    let index = match default_interface()? {
        Some(index) => Some(index),
        None => {
            let mut usable =
                addresses()?.into_iter().filter(|it| it.usable && !it.ip.is_loopback());
            usable.next().map(|it| it.interface)
        }
    };
    let Some(index) = index else { return Ok(None) };
    let task = "looking for the interface that leads to the servers";
    for entry in fs::read_dir("/sys/class/net").during(task)? {
        let path = entry.during(task)?.path();
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
        if read("ifindex").trim() == index.to_string() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Some((name, read("address").trim().to_owned())));
        }
    }
    Err(Stop::new(format_args!("{task}: interface {index} is gone")))
}

fn apply(
    decision: &FirstBoot,
    seed: Option<&Seed>,
    answers: Vec<Answer>,
    steps: Vec<Step>,
) -> Result<()> {
    let below = Below::open("/")?;
    // The provisional one matches every interface, and its name may sort first.
    let _ = fs::remove_file(PROVISIONAL_NETWORK);
    for file in decision.files.iter().filter(|file| file.path != "/etc/machine-id") {
        below.write(file)?;
    }
    rustix::system::sethostname(decision.instance.hostname.as_bytes())
        .during("setting the host name")?;
    let bytes = serde_json::to_vec(&decision.instance).during("writing the instance")?;
    below.write(&private(INSTANCE, 0o600, bytes))?;
    if let Some(seed) = seed {
        let bytes = serde_json::to_vec(seed).during("writing the seed")?;
        below.write(&private(SEED, 0o600, bytes))?;
    }
    let summary = Summary::new(decision, answers, steps);
    let summary = serde_json::to_vec_pretty(&summary).during("writing the summary")?;
    below.write(&private(FIRST_BOOT, 0o644, summary))?;
    // Before the network becomes the host's own: it may be away for a moment then.
    report::send("configured", "");
    command("networkctl", "reload")?;
    let instance = &decision.instance;
    say(format_args!(
        "host {}, address {}, instance {}, {} files",
        instance.hostname,
        instance.address.as_deref().unwrap_or("by DHCP"),
        instance.instance_id,
        decision.files.len()
    ));
    Ok(())
}

/// Real connections, names resolved as the host does.
pub(super) struct Sockets {
    started: Instant,
}

impl Sockets {
    pub(super) fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Network for Sockets {
    fn connect(&mut self, url: &Url, limit: Duration) -> io::Result<Box<dyn Connection>> {
        let mut error = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in resolve(url, Path::new(RESOLVED), limit)? {
            match TcpStream::connect_timeout(&address, limit) {
                Ok(stream) => return Ok(Box::new(Stream(stream))),
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&mut self, time: Duration) {
        thread::sleep(time);
    }
}

fn resolve(url: &Url, resolved: &Path, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    match &url.host {
        Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, url.port)]),
        Host::Name(name) => {
            let found = resolve::addresses(resolved, name, limit.max(SHORTEST))?;
            Ok(found.into_iter().map(|ip| SocketAddr::new(ip, url.port)).collect())
        }
        Host::Zoned(ip, zone) => {
            let index = fs::read_to_string(format!("/sys/class/net/{zone}/ifindex"))?;
            let index = index.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
            Ok(vec![std::net::SocketAddrV6::new(*ip, url.port, 0, index).into()])
        }
    }
}

/// Limits of zero mean none to the system, so they are never given.
struct Stream(TcpStream);

const SHORTEST: Duration = Duration::from_millis(1);

impl Connection for Stream {
    fn read(&mut self, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
        self.0.set_read_timeout(Some(limit.max(SHORTEST)))?;
        self.0.read(buffer).map_err(timed_out)
    }

    fn write(&mut self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        self.0.set_write_timeout(Some(limit.max(SHORTEST)))?;
        self.0.write_all(bytes).map_err(timed_out)
    }
}

/// A socket's time limit shows as `WouldBlock`.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers one request after the other with these bytes.
    fn serve(answers: Vec<&'static [u8]>) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                stream.write_all(answer).unwrap();
            }
        });
        Url::parse(&format!("http://127.0.0.1:{port}/meta-data")).unwrap()
    }

    #[test]
    fn a_document_comes_over_a_real_socket() {
        let url = serve(vec![
            b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\na: 1",
        ]);
        let mut network = Sockets::new();
        let mut client = Client::new(&mut network, Duration::from_secs(60));
        assert_eq!(client.get(&url, &[]).unwrap().as_deref(), Some(&b"a: 1"[..]));
    }

    #[test]
    fn a_server_that_says_nothing_is_left_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        let mut network = Sockets::new();
        let mut client = Client::new(&mut network, Duration::from_millis(300));
        assert!(matches!(client.get(&url, &[]), Err(remote::Error::Silent(_))));
    }

    #[test]
    fn addresses_of_every_kind_are_resolved() {
        let nobody = Path::new("/nonexistent");
        for (url, expected) in
            [("http://127.0.0.1/", "127.0.0.1:80"), ("http://[::1]:82/", "[::1]:82")]
        {
            let found = resolve(&Url::parse(url).unwrap(), nobody, SHORTEST).unwrap();
            assert_eq!(found, [expected.parse().unwrap()], "{url}");
        }
        assert!(resolve(&Url::parse("http://a/").unwrap(), nobody, SHORTEST).is_err());
    }
}
