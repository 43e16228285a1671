// SPDX-License-Identifier: Apache-2.0
//! Registries on loopback: Debian's `docker-registry`, filled as clients push, and one of a few
//! lines that does what a real one never does.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use kiln::digest::Digest;
use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image for one platform, made of literals.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
    architecture: String,
}

impl Image {
    /// With layers that have these texts in a file.
    pub(crate) fn new(architecture: &str, texts: &[&str]) -> Self {
        let layers: Vec<Vec<u8>> = texts.iter().map(|text| layer(text)).collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Entrypoint": ["/file"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": part(CONFIG, &config),
            "layers": layers.iter().map(|layer| part(LAYER, layer)).collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        Self { manifest, config, layers, architecture: architecture.to_owned() }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

/// An index of these.
pub(crate) fn index(images: &[&Image]) -> Vec<u8> {
    let entry = |image: &&Image| {
        let mut entry = part(MANIFEST, &image.manifest);
        entry["platform"] = json!({ "os": "linux", "architecture": image.architecture });
        entry
    };
    let manifests: Vec<Value> = images.iter().map(entry).collect();
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }).to_string().into()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest::of(bytes))
}

fn part(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

fn layer(text: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o755);
    builder.append_data(&mut header, "file", text.as_bytes()).expect("memory");
    builder.into_inner().expect("memory")
}

/// Debian's registry. It ends with the test.
#[derive(Debug)]
pub(crate) struct Registry {
    child: Child,
    host: String,
    _folder: tempfile::TempDir,
    _users: Option<tempfile::TempDir>,
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// For this user and password alone, which are `NAME:HASH` by bcrypt.
    pub(crate) fn start_for(user: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let users = folder.path().join("users");
        std::fs::write(&users, user).expect("writable");
        let auth = format!("auth: {{ htpasswd: {{ realm: r, path: '{}' }} }}\n", users.display());
        let mut registry = Self::start_with(&auth);
        registry._users = Some(folder);
        registry
    }

    /// `more` is for its configuration.
    fn start_with(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: info, formatter: json }}\n\
             storage: {{ filesystem: {{ rootdirectory: '{}' }} }}\nhttp: {{ addr: '127.0.0.1:0' }}\n{more}",
            data.display()
        );
        std::fs::write(&config, text).expect("writable");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting 'docker-registry': {error}"));
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        let listening = log.find_map(|line| {
            let line = line.expect("readable");
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split('"').next().expect("some").to_owned())
        });
        // It stops when nobody reads what it says.
        thread::spawn(move || log.for_each(drop));
        let host = listening.expect("it says where it listens");
        Self { child, host, _folder: folder, _users: None }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Pushes an image and gives it a tag.
    pub(crate) fn push(&self, repository: &str, tag: &str, image: &Image) {
        for blob in image.layers.iter().chain([&image.config]) {
            self.push_blob(repository, blob);
        }
        self.push_manifest(repository, tag, MANIFEST, &image.manifest);
    }

    /// Pushes images, and an index of them that gets the tag.
    pub(crate) fn push_index(&self, repository: &str, tag: &str, images: &[&Image]) -> Vec<u8> {
        for image in images {
            self.push(repository, &image.digest().to_string()[..12], image);
        }
        let index = index(images);
        self.push_manifest(repository, tag, INDEX, &index);
        index
    }

    /// OCI distribution-spec, "POST then PUT".
    fn push_blob(&self, repository: &str, bytes: &[u8]) {
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.host);
        let response = ureq::post(&url).send_empty().expect("an upload begins");
        let place = response.headers()["location"].to_str().expect("text").to_owned();
        let separator = if place.contains('?') { '&' } else { '?' };
        let response = ureq::put(format!("{place}{separator}digest={}", digest(bytes)))
            .header("Content-Type", "application/octet-stream")
            .send(bytes)
            .expect("a blob is taken");
        assert_eq!(response.status(), 201);
    }

    fn push_manifest(&self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.host);
        let response = ureq::put(&url).header("Content-Type", kind).send(bytes);
        assert_eq!(response.expect("a manifest is taken").status(), 201);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended already; nothing can be done about it here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a client asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// All of them, by their names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    pub(crate) authorization: Option<String>,
    pub(crate) accept: Vec<String>,
    pub(crate) range: Option<usize>,
}

/// What the server says.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// Bytes of the body after which nothing more comes.
    stall: Option<usize>,
    /// Whether the connection ends without an answer.
    hangs_up: bool,
}

impl Reply {
    pub(crate) fn ok(kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).with("Content-Type", kind).body(body)
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: String::new(), body: Vec::new(), stall: None, hangs_up: false }
    }

    pub(crate) fn hang_up() -> Self {
        Self { hangs_up: true, ..Self::status(0) }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(crate) fn stall(self, after: usize) -> Self {
        Self { stall: Some(after), ..self }
    }

    /// Whether the connection goes on.
    fn send(&self, mut stream: &TcpStream, request: &Request) -> std::io::Result<bool> {
        if self.hangs_up {
            return Ok(false);
        }
        let range = request.range;
        let (len, mut body, mut status) = (self.body.len(), &self.body[..], self.status);
        let mut headers = self.headers.clone();
        if let Some(start) = range.filter(|start| *start < len && self.status == 200) {
            (status, body) = (206, &body[start..]);
            headers.push_str(&format!("Content-Range: bytes {start}-{}/{len}\r\n", len - 1));
        }
        write!(
            stream,
            "HTTP/1.1 {status} Reply\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        )?;
        if request.method == "HEAD" {
            return Ok(true);
        }
        let Some(after) = self.stall else { return stream.write_all(body).map(|()| true) };
        stream.write_all(&body[..after.min(body.len())])?;
        stream.read_exact(&mut [0])?;
        Ok(false)
    }
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server that answers as a test says. It ends with the test.
#[derive(Clone)]
pub(crate) struct Fake {
    log: Arc<Mutex<Vec<Request>>>,
    port: u16,
}

impl Fake {
    /// `answer` also gets the server's `HOST:PORT`.
    pub(crate) fn start(answer: impl Fn(&Request, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let fake = Self { log: Arc::default(), port };
        let host = fake.host();
        let answer: Arc<Answer> = Arc::new(move |request: &Request| answer(request, &host));
        let shared = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (fake, answer) = (shared.clone(), answer.clone());
                // A client that hangs up is part of several tests.
                thread::spawn(move || drop(fake.serve(&stream, &*answer)));
            }
        });
        fake
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The requests since the last call.
    pub(crate) fn log(&self) -> Vec<Request> {
        std::mem::take(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn serve(&self, stream: &TcpStream, answer: &Answer) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = read(&mut reader)? {
            self.log.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
            if !answer(&request).send(stream, &request)? {
                break;
            }
        }
        Ok(())
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut request = Request { method, path, ..Request::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        let name = name.to_ascii_lowercase();
        request.headers.insert(name.clone(), value.to_owned());
        match name.as_str() {
            "authorization" => request.authorization = Some(value.to_owned()),
            "accept" => request.accept.push(value.to_owned()),
            "range" => {
                let start = value.trim_start_matches("bytes=").trim_end_matches('-');
                request.range = start.parse().ok();
            }
            _ => {}
        }
    }
    let len = request.headers.get("content-length").and_then(|len| len.parse().ok());
    request.body.resize(len.unwrap_or(0), 0);
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

/// What a registry with one image under the tag `1` of `a/b` answers to everybody.
pub(crate) fn serve(image: &Image, request: &Request) -> Reply {
    let name = request.path.rsplit('/').next().unwrap_or_default();
    if request.path.starts_with("/v2/a/b/manifests/") {
        let is_it = name == "1" || name == digest(&image.manifest);
        return match is_it {
            true => Reply::ok(MANIFEST, image.manifest.clone()),
            false => Reply::status(404),
        };
    }
    let mut blobs = image.layers.iter().chain([&image.config]);
    match blobs.find(|blob| name == digest(blob)) {
        Some(blob) => Reply::ok("application/octet-stream", blob.clone()),
        None => Reply::status(404),
    }
}

/// Bytes of all files below a folder, one behind the other.
pub(crate) fn everything(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("readable").path();
        match path.is_dir() {
            true => bytes.extend(everything(&path)),
            false => bytes.extend(std::fs::read(&path).expect("readable")),
        }
    }
    bytes
}
