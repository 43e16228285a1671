// SPDX-License-Identifier: Apache-2.0
//! From a request to a response: which known thing a path means, who may have it, what is noted.

use std::{net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Bytes, Incoming},
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap,
        HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
};

use super::{
    Site,
    body::{Payload, Sending},
    fleet::{Note, What, page},
    hosts::{Host, Hosts, stranger},
    images::{Image, Images, Keys, Secrecy},
    range,
    report::Report,
    script::{self, Boot},
    tftp,
};
use crate::sys;

/// Bytes of a report: ten times what a host of a large cluster sends.
const REPORT_MAX: usize = 256 << 10;
/// Until a report is there.
const REPORT_TIME: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
/// Nothing of another place, nothing inside of another page, no code in the page itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) peer: IpAddr,
    pub(super) local: IpAddr,
    pub(super) secure: bool,
}

/// What a path means.
#[derive(Debug)]
enum Found<'a> {
    Page,
    Style,
    Code,
    Events,
    First,
    Script(&'a Host, &'a str),
    Document(&'a Host, &'a str),
    Report(&'a Host),
    File(&'a Arc<Image>, &'a str),
    FirstStage(&'a str),
}

/// Why there is nothing, for people.
#[derive(Debug, PartialEq)]
struct Refusal {
    status: StatusCode,
    text: String,
}

fn refusal(status: StatusCode, text: impl Into<String>) -> Refusal {
    Refusal { status, text: text.into() }
}

/// Everything that paths name.
#[derive(Clone, Copy)]
struct Known<'a> {
    hosts: &'a Hosts,
    images: &'a Images,
    first_stage: Option<&'a tftp::FirstStage>,
    keys: Keys,
}

/// Looks a path up. Nothing of it is decoded or resolved.
fn route<'a>(known: Known<'a>, path: &'a str, secure: bool) -> Result<Found<'a>, Refusal> {
    let nothing = || refusal(StatusCode::NOT_FOUND, "there is nothing here\n");
    let parts: Vec<&str> = path.strip_prefix('/').ok_or_else(nothing)?.splitn(5, '/').collect();
    match parts[..] {
        [""] => Ok(Found::Page),
        ["style.css"] => Ok(Found::Style),
        ["script.js"] => Ok(Found::Code),
        ["events"] => Ok(Found::Events),
        ["boot.ipxe"] => Ok(Found::First),
        ["hosts", key, file] => {
            let host = known.hosts.get(key).ok_or_else(|| {
                refusal(
                    StatusCode::NOT_FOUND,
                    "no host of the cluster has this MAC address or UUID: write it down in \
                     cluster.yaml\n",
                )
            })?;
            match file {
                "boot.ipxe" => Ok(Found::Script(host, key)),
                "report" => Ok(Found::Report(host)),
                _ if !host.documents.contains_key(file) => Err(nothing()),
                _ if host.has_keys && !(secure && known.keys.metadata) => Err(locked()),
                _ => Ok(Found::Document(host, file)),
            }
        }
        ["images", role, file] => image(known, role, file, None, secure),
        ["images", role, build, file] => image(known, role, file, Some(build), secure),
        ["ipxe", file] => match known.first_stage {
            Some(stage) if stage.get(file).is_some() => Ok(Found::FirstStage(file)),
            _ => Err(nothing()),
        },
        _ => Err(nothing()),
    }
}

/// A file of a role's build, which a path may name by its id.
fn image<'a>(
    known: Known<'a>,
    role: &str,
    file: &'a str,
    build: Option<&str>,
    secure: bool,
) -> Result<Found<'a>, Refusal> {
    let nothing = || refusal(StatusCode::NOT_FOUND, "there is nothing here\n");
    let image = known.images.role(role).ok_or_else(nothing)?;
    if build.is_some_and(|build| build.strip_prefix("v-") != Some(&image.id)) {
        let text = "this role was built again: ask for the host's script again\n";
        return Err(refusal(StatusCode::NOT_FOUND, text));
    }
    let allowed = match known.keys.images {
        _ if image.n_keys == 0 => true,
        Secrecy::Never => false,
        Secrecy::Https => secure,
        Secrecy::Http => true,
    };
    // The script holds none, and says where the image is.
    if !allowed && image.script.as_deref() != Some(file) {
        return Err(locked());
    }
    image.files.contains_key(file).then_some(Found::File(image, file)).ok_or_else(nothing)
}

fn locked() -> Refusal {
    refusal(StatusCode::FORBIDDEN, "this holds private keys, which are not served in this way\n")
}

/// The response; whoever asks is noted.
pub(super) async fn answer(
    site: &Arc<Site>,
    ends: Ends,
    request: Request<Incoming>,
) -> Response<Payload> {
    let images = site.images();
    let known = Known {
        hosts: &site.settings.hosts,
        images: &images,
        first_stage: site.first_stage.as_ref(),
        keys: site.settings.keys,
    };
    let (head, body) = request.into_parts();
    let ends = Ends { peer: forwarded(ends.peer, &head.headers), ..ends };
    let path = head.uri.path();
    let outcome = match route(known, path, ends.secure) {
        Ok(Found::Report(host)) => take(site, ends, host, &head.method, body).await,
        Ok(found) => match head.method {
            Method::GET | Method::HEAD => {
                give(site, ends, &found, &head.method, &head.headers).await
            }
            _ => Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n")),
        },
        Err(refusal) => {
            // /hosts/KEY/...: somebody who would be a host.
            if let Some(key) = path.split('/').nth(2).filter(|_| path.starts_with("/hosts/")) {
                note_stranger(site, ends, known.hosts, key);
            }
            Err(refusal)
        }
    };
    let mut response = outcome.unwrap_or_else(|refusal| refused(&head.method, refusal));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// Whom a web server on this machine asks for. Nobody else may say so.
fn forwarded(peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let real = headers.get("x-real-ip").filter(|_| peer.is_loopback());
    real.and_then(|it| it.to_str().ok()?.parse().ok()).unwrap_or(peer)
}

fn note_stranger(site: &Site, ends: Ends, hosts: &Hosts, key: &str) {
    if hosts.get(key).is_some() {
        return;
    }
    let Some(key) = stranger(key) else { return };
    let is_new = site.fleet().stranger(sys::now(), ends.peer, &key);
    if is_new {
        site.progress.say(format!("unknown machine {key} ({})", ends.peer));
    }
}

fn refused(method: &Method, Refusal { status, text }: Refusal) -> Response<Payload> {
    let mut response = Response::new(match *method {
        Method::HEAD => Payload::nothing(),
        _ => Payload::Bytes(Bytes::from(text)),
    });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// Something with a length.
struct Thing {
    kind: &'static str,
    /// SHA-256 in hex, if it is known.
    validator: Option<String>,
    source: Source,
}

enum Source {
    Bytes(Bytes),
    File(std::fs::File, u64),
}

async fn give(
    site: &Arc<Site>,
    ends: Ends,
    found: &Found<'_>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response<Payload>, Refusal> {
    let text = |kind, text: String| Thing {
        kind,
        validator: None,
        source: Source::Bytes(Bytes::from(text)),
    };
    let fixed = |kind, text: &'static str| Thing {
        kind,
        validator: None,
        source: Source::Bytes(Bytes::from_static(text.as_bytes())),
    };
    let thing = match found {
        Found::Page => Thing {
            kind: "text/html; charset=utf-8",
            validator: None,
            source: Source::Bytes(site.fleet().page()),
        },
        Found::Style => fixed("text/css; charset=utf-8", page::STYLE),
        Found::Code => fixed("text/javascript; charset=utf-8", page::CODE),
        Found::Events => return events(site, method),
        Found::First => fixed(TEXT, script::FIRST),
        Found::Script(host, key) => text(TEXT, script_of(site, ends, host, key)),
        Found::Document(host, file) => {
            let document = &host.documents[*file];
            Thing {
                kind: TEXT,
                validator: Some(document.sha256.to_string()),
                source: Source::Bytes(document.bytes.clone()),
            }
        }
        Found::File(image, file) => file_of(image, file).await?,
        Found::FirstStage(name) => {
            let stage = site.first_stage.as_ref().and_then(|stage| stage.get(name));
            let (file, len) = stage.and_then(|file| file.open().ok()).ok_or_else(gone)?;
            Thing { kind: BINARY, validator: None, source: Source::File(file, len) }
        }
        Found::Report(_) => unreachable!("reports are taken, not given"),
    };
    let len = match &thing.source {
        Source::Bytes(bytes) => bytes.len() as u64,
        Source::File(_, len) => *len,
    };
    let head = range::head(method, headers, len, thing.validator.as_deref());
    note(site, ends, found, head.status, head.body);
    let payload = match (head.body, thing.source) {
        ((start, end), _) if start == end => Payload::nothing(),
        ((start, end), Source::Bytes(bytes)) => {
            let place = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
            Payload::Bytes(bytes.slice(place(start)..place(end)))
        }
        (part, Source::File(file, _)) => Payload::File(Sending::new(file, part, &site.pieces)),
    };
    let mut response = Response::new(payload);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(thing.kind));
    // What has a validator is asked for again with it; nothing else is kept.
    let cache = if thing.validator.is_some() { "no-cache" } else { "no-store" };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    if matches!(found, Found::Page) {
        let policy = HeaderValue::from_static(POLICY);
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        let referrer = HeaderValue::from_static("no-referrer");
        response.headers_mut().insert(REFERRER_POLICY, referrer);
    }
    Ok(response)
}

const BINARY: &str = "application/octet-stream";

fn gone() -> Refusal {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "the file is not what was built\n")
}

/// Opened beneath the folder of its build, and what the manifest says of it.
async fn file_of(image: &Arc<Image>, name: &str) -> Result<Thing, Refusal> {
    let known = image.files[name].clone();
    let (folder, file) = (Arc::clone(image), name.to_owned());
    let opened = tokio::task::spawn_blocking(move || {
        let file = folder.folder.file(&file)?;
        let len = file.metadata()?.len();
        Ok::<_, std::io::Error>((file, len))
    });
    let Ok(Ok((file, len))) = opened.await else { return Err(gone()) };
    if len != known.len {
        return Err(gone());
    }
    let kind = match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "ipxe" | "bmap" => TEXT,
        "json" => "application/json",
        "efi" => "application/efi",
        _ if name == "SHA256SUMS" => TEXT,
        _ => BINARY,
    };
    Ok(Thing { kind, validator: Some(known.sha256.to_string()), source: Source::File(file, len) })
}

fn script_of(site: &Site, ends: Ends, host: &Host, key: &str) -> String {
    let images = site.images();
    let sums = host.documents.get("SHA256SUMS");
    let metadata = match sums {
        // Keys are not for first boot's ears: it would ask without encryption.
        Some(_) if host.has_keys => None,
        // Who has this by HTTPS can check by it what comes without.
        Some(sums) => Some(ends.secure.then(|| sums.sha256.to_string())),
        None => None,
    };
    let boot = Boot {
        host: &host.name,
        role: &host.role,
        key,
        arguments: &host.arguments,
        image: images.role(&host.role).map(|image| &**image),
        metadata,
    };
    script::boot(&boot, &site.base(ends.local), ends.secure)
}

/// Notes who got what, once for each thing: not for parts in the middle of a file.
fn note(site: &Site, ends: Ends, found: &Found<'_>, status: StatusCode, (start, end): (u64, u64)) {
    let what = match found {
        Found::Script(host, _) => What::Script(&host.name),
        Found::Document(host, file) => What::Document(&host.name, file),
        Found::File(image, file) if start == 0 && end > 0 => What::File(image, file),
        _ => return,
    };
    if !status.is_success() {
        return;
    }
    let note = Note { at: sys::now(), from: ends.peer, what };
    let line = site.fleet().asked(&note);
    if let Some(line) = line {
        site.progress.say(line);
    }
}

fn events(site: &Site, method: &Method) -> Result<Response<Payload>, Refusal> {
    let payload = match *method {
        Method::HEAD => Payload::nothing(),
        _ => Payload::Events(site.fleet().watch().ok_or_else(|| {
            refusal(StatusCode::SERVICE_UNAVAILABLE, "too many look at this page already\n")
        })?),
    };
    let mut response = Response::new(payload);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx in between would wait for more.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Takes a host's report.
async fn take(
    site: &Site,
    ends: Ends,
    host: &Host,
    method: &Method,
    body: Incoming,
) -> Result<Response<Payload>, Refusal> {
    if *method != Method::POST {
        return Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "reports are sent here by POST\n"));
    }
    let bytes = tokio::time::timeout(REPORT_TIME, collect(body)).await.map_err(|_| {
        refusal(StatusCode::REQUEST_TIMEOUT, "the report did not come to its end in time\n")
    })??;
    let report = Report::parse(&bytes)
        .map_err(|what| refusal(StatusCode::BAD_REQUEST, format!("no report: {what}\n")))?;
    let line = site.fleet().reported(sys::now(), ends.peer, &host.name, report);
    site.progress.say(line);
    let mut response = Response::new(Payload::nothing());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().remove(CONTENT_LENGTH);
    Ok(response)
}

async fn collect(mut body: Incoming) -> Result<Vec<u8>, Refusal> {
    let large = || {
        let text = format!("a report has at most {REPORT_MAX} bytes\n");
        refusal(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    if body.size_hint().lower() > REPORT_MAX as u64 {
        return Err(large());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame =
            frame.map_err(|_| refusal(StatusCode::BAD_REQUEST, "it ended before its end\n"))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > REPORT_MAX {
            return Err(large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
