// SPDX-License-Identifier: Apache-2.0
//! A Debian archive made of literals: packages, indexes, a signed Release, and a web server on
//! loopback that misbehaves on demand.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime},
};

use kiln::{debian::date::Date, digest::Digest};
use sequoia_openpgp::{
    Cert,
    cert::CertBuilder,
    policy::StandardPolicy,
    serialize::{
        Serialize as _,
        stream::{Message, Signer},
    },
};

const DAY: u64 = 86_400;

/// What the server does instead of answering a request well.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Answers with this status.
    Status(u16),
    /// Answers so many times with this status, then well.
    Times(u32, u16),
    /// Promises the whole file, sends so many bytes, hangs up. Once.
    Truncate(usize),
    /// Changes the byte at this place.
    Alter(usize),
    /// Sends so many bytes more than the file has.
    Append(usize),
    /// Sends half, then nothing, until the client hangs up.
    Stall,
    /// Knows nothing of ranges.
    NoRanges,
    /// Sends the client to another path.
    Redirect(String),
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    faults: BTreeMap<String, Fault>,
    /// Method, path and `Range` of each request.
    log: Vec<String>,
}

/// A web server with files. It ends with the test.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    port: u16,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let server = Self { state: Arc::default(), port };
        let shared = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = shared.clone();
                // A client that hangs up is part of several tests.
                thread::spawn(move || drop(server.serve(stream)));
            }
        });
        server
    }

    /// Address of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.host())
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.state().files.insert(path.to_owned(), bytes.into());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state().files.remove(path).expect("the archive has it");
    }

    /// Lets one path misbehave.
    pub(crate) fn fault(&self, path: &str, fault: Fault) {
        self.state().faults.insert(path.to_owned(), fault);
    }

    pub(crate) fn heal(&self, path: &str) {
        self.state().faults.remove(path);
    }

    /// The requests since the last call, in order: `GET /path`, `GET /path bytes=5-`.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = Request::read(&mut reader)? {
            let Request { method, path, range } = &request;
            let with_range = range.map(|start| format!(" bytes={start}-")).unwrap_or_default();
            let (file, fault) = {
                let mut state = self.state();
                state.log.push(format!("{method} /{path}{with_range}"));
                (state.files.get(path).cloned(), state.faults.get(path).cloned())
            };
            if !self.answer(&stream, &request, file, fault)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether the connection goes on.
    fn answer(
        &self,
        mut stream: &TcpStream,
        request: &Request,
        file: Option<Vec<u8>>,
        fault: Option<Fault>,
    ) -> std::io::Result<bool> {
        let mut status = |code: u16, more: &str| {
            write!(stream, "HTTP/1.1 {code} Fault\r\n{more}Content-Length: 0\r\n\r\n")
                .map(|()| true)
        };
        match &fault {
            Some(Fault::Status(code)) => return status(*code, ""),
            Some(Fault::Times(0, _)) => self.heal(&request.path),
            Some(Fault::Times(times, code)) => {
                self.fault(&request.path, Fault::Times(times - 1, *code));
                return status(*code, "");
            }
            Some(Fault::Redirect(path)) => return status(302, &format!("Location: /{path}\r\n")),
            _ => {}
        }
        let Some(mut body) = file else { return status(404, "") };
        let start = request.range.filter(|_| !matches!(fault, Some(Fault::NoRanges)));
        if start.is_some_and(|start| start >= body.len()) {
            return status(416, "");
        }
        match fault {
            Some(Fault::Alter(at)) => body[at] ^= 1,
            Some(Fault::Append(more)) => body.extend(vec![0; more]),
            _ => {}
        }
        let size = body.len();
        match start {
            Some(start) => {
                body.drain(..start);
                write!(
                    stream,
                    "HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{}/{size}\r\n",
                    size - 1
                )?;
            }
            None => write!(stream, "HTTP/1.1 200 OK\r\n")?,
        }
        write!(stream, "Content-Length: {}\r\n\r\n", body.len())?;
        if request.method == "HEAD" {
            return Ok(true);
        }
        match fault {
            Some(Fault::Truncate(len)) => {
                self.heal(&request.path);
                stream.write_all(&body[..len])?;
                Ok(false)
            }
            Some(Fault::Stall) => {
                stream.write_all(&body[..body.len() / 2])?;
                stream.read_exact(&mut [0])?;
                Ok(false)
            }
            _ => stream.write_all(&body).map(|()| true),
        }
    }
}

struct Request {
    method: String,
    path: String,
    range: Option<usize>,
}

impl Request {
    fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Self>> {
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut words = first.split_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
        let mut range = None;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(start) = line.strip_prefix("range: bytes=") {
                range = Some(start.trim_end_matches('-').parse().expect("our own client"));
            }
        }
        let path = path.trim_start_matches('/').to_owned();
        Ok(Some(Self { method: method.to_owned(), path, range }))
    }
}

/// A package of a fake archive.
#[derive(Debug, Clone)]
pub(crate) struct Deb {
    pub(crate) name: String,
    pub(crate) version: String,
    /// More fields of the control file, each with its line end.
    pub(crate) fields: String,
    /// Name of the folder in the pool.
    pub(crate) source: String,
    pub(crate) bytes: Vec<u8>,
}

impl Deb {
    /// A package with one file, `/usr/share/NAME`, which holds its version many times.
    pub(crate) fn new(name: &str, version: &str, fields: &str) -> Self {
        let content = format!("{version}\n").repeat(4000);
        let control = format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}");
        let bytes = ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", &xz(&tar(&[("./control", &control)]))),
            // Stored as it is, so that the file is large enough to be cut.
            ("data.tar", &tar(&[(&format!("./usr/share/{name}"), &content)])),
        ]);
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            fields: fields.to_owned(),
            source: name.to_owned(),
            bytes,
        }
    }

    /// The same in the folder of another source package.
    pub(crate) fn of_source(self, source: &str) -> Self {
        Self { source: source.to_owned(), ..self }
    }

    /// Path below the archive's base address.
    pub(crate) fn path(&self) -> String {
        let version = self.version.split_once(':').map_or(&*self.version, |(_, version)| version);
        format!("pool/main/{}/{}_{version}_amd64.deb", self.source, self.name)
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    fn stanza(&self) -> String {
        let Self { name, version, fields, bytes, .. } = self;
        let (path, size, digest) = (self.path(), bytes.len(), self.digest());
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}\
             Filename: {path}\nSize: {size}\nSHA256: {digest}\n\n"
        )
    }
}

/// Signs Release files.
#[derive(Debug)]
pub(crate) struct Key(Cert);

impl Key {
    pub(crate) fn generate() -> Self {
        let made = at(now() - 365 * DAY);
        let builder = CertBuilder::general_purpose(Some("archive@example.org"));
        Self(builder.set_creation_time(made).generate().expect("generates").0)
    }

    /// The public part, for `--keyring`.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.serialize(&mut bytes).expect("memory");
        bytes
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let policy = StandardPolicy::new();
        let keys = self.0.keys().with_policy(&policy, None).secret().for_signing();
        let key = keys.map(|key| key.key().clone()).next().expect("a signing key");
        let mut signed = Vec::new();
        let signer = Signer::new(Message::new(&mut signed), key.into_keypair().expect("open"));
        let mut writer = signer.expect("fits").cleartext().build().expect("builds");
        writer.write_all(text.as_bytes()).expect("memory");
        writer.finalize().expect("memory");
        signed
    }
}

/// One suite to publish.
#[derive(Debug, Clone)]
pub(crate) struct Suite<'a> {
    /// `debian` or `debian-security`: the folder of the server.
    pub(crate) archive: &'a str,
    pub(crate) name: &'a str,
    pub(crate) debs: &'a [Deb],
    /// Age of the Release file in seconds.
    pub(crate) age: u64,
    /// How long it is valid from its date on.
    pub(crate) valid: u64,
}

impl<'a> Suite<'a> {
    /// Made an hour ago, valid for a week.
    pub(crate) fn new(archive: &'a str, name: &'a str, debs: &'a [Deb]) -> Self {
        Self { archive, name, debs, age: 3600, valid: 7 * DAY }
    }

    /// Puts packages, index and Release on the server. Gives the dates of the Release file.
    pub(crate) fn publish(&self, server: &Server, key: &Key) -> (Date, Date) {
        let Self { archive, name, debs, .. } = self;
        for deb in *debs {
            server.put(&format!("{archive}/{}", deb.path()), deb.bytes.clone());
        }
        let index: String = debs.iter().map(Deb::stanza).collect();
        let packed = xz(index.as_bytes());
        let folder = "main/binary-amd64";
        let dists = format!("{archive}/dists/{name}");
        let by_hash = format!("{dists}/{folder}/by-hash/SHA256/{}", Digest::of(&packed));
        server.put(&by_hash, packed.clone());
        server.put(&format!("{dists}/{folder}/Packages.xz"), packed.clone());
        let date = now() - self.age;
        let dates = (Date(date), Date(date + self.valid));
        let release = self.release(dates, folder, index.as_bytes(), &packed);
        server.put(&format!("{dists}/InRelease"), key.sign(&release));
        dates
    }

    fn release(
        &self,
        (date, until): (Date, Date),
        folder: &str,
        index: &[u8],
        packed: &[u8],
    ) -> String {
        let mut text = format!(
            "Origin: Fake\nSuite: {0}\nCodename: {0}\nDate: {date}\nValid-Until: {until}\n\
             Acquire-By-Hash: yes\nArchitectures: all amd64\nComponents: main\nSHA256:\n",
            self.name
        );
        for (name, bytes) in [("Packages", index), ("Packages.xz", packed)] {
            writeln!(text, " {} {} {folder}/{name}", Digest::of(bytes), bytes.len())
                .expect("memory");
        }
        text
    }
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).expect("options");
    writer.write_all(bytes).expect("memory");
    writer.finish().expect("memory")
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_789_199_741);
        builder.append_data(&mut header, path, content.as_bytes()).expect("memory");
    }
    builder.into_inner().expect("memory")
}

/// ar(5), as dpkg-deb writes it.
fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let size = content.len();
        writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`", 0, 0, 0, 100_644)
            .expect("memory");
        bytes.extend_from_slice(content);
        if size % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}
