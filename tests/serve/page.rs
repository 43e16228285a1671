// SPDX-License-Identifier: Apache-2.0
//! The fleet's page in a browser: `make test-serve`.
//!
//! Chromium is spoken to over a pipe, by its DevTools protocol: JSON texts with a zero byte behind
//! each.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::site::{MAC, Served, Site, UUID};

/// A browser that knows nobody but us.
const BROWSER: &str = "exec chromium --headless=new --no-sandbox --disable-gpu --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --disable-default-apps \
    --disable-domain-reliability --disable-client-side-phishing-detection --metrics-recording-only \
    --no-pings --no-proxy-server --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' \
    --window-size=1280,900 --user-data-dir=\"$1\" --remote-debugging-pipe about:blank \
    3<&0 4>&1 0</dev/null 1>&2";

struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    n: u64,
    session: Option<String>,
    /// What it said beside its answers.
    events: Vec<Value>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.input.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let _ = self.child.wait();
    }
}

impl Browser {
    fn open(folder: &Path, url: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", BROWSER, "sh"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let output = BufReader::new(output);
        let mut browser = Self { child, input, output, n: 0, session: None, events: Vec::new() };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", target);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Log", "Runtime", "Page"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Page.navigate", json!({ "url": url }));
        browser
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.n += 1;
        let mut message = json!({ "id": self.n, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.input.write_all(message.to_string().as_bytes()).unwrap();
        self.input.write_all(b"\0").unwrap();
        loop {
            let mut bytes = Vec::new();
            self.output.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "the browser is gone");
            let answer: Value = serde_json::from_slice(&bytes).unwrap();
            if answer["id"] == self.n {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true });
        self.call("Runtime.evaluate", asked)["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    fn until(&mut self, expression: &str) {
        for _ in 0..300 {
            if self.value(expression) == json!(true) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let text = self.value("document.body.innerText");
        panic!("never: {expression}\n{}", text.as_str().unwrap_or_default());
    }

    fn picture(&mut self, scheme: &str, path: &Path) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features);
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
        fs::write(path, bytes).unwrap();
    }
}

fn report(served: &Served, key: &str, report: &Value) {
    let body = report.to_string();
    let answer = served.ask("POST", &format!("/hosts/{key}/report"), "", body.as_bytes());
    assert_eq!(answer.status, 204);
}

#[test]
fn the_page_follows_the_fleet_in_a_browser() {
    let site = Site::new(b"root");
    let served = site.serve(&[]);
    let mut browser =
        Browser::open(&site.path("profile"), &format!("http://{}/", served.address("http")));
    browser.until("document.getElementById('live')?.textContent === 'live'");
    assert_eq!(browser.value("document.getElementById('hosts').rows.length"), 3);

    // Without loading it again, the page shows what happens.
    served.get(&format!("/hosts/{MAC}/boot.ipxe"));
    browser.until("document.getElementById('host-lb-1').innerText.includes('loading')");
    served.get("/images/lb/test-lb.vmlinuz");
    browser.until("document.getElementById('host-lb-1').innerText.includes('kernel')");
    served.get(&format!("/hosts/{MAC}/meta-data"));
    browser.until("document.getElementById('host-lb-1').innerText.includes('asks for metadata')");
    let hash = kiln::digest::Digest::of(b"root");
    report(
        &served,
        MAC,
        &json!({ "phase": "ready", "message": "", "version": "7", "root-hash": hash,
        "first-boot": { "address": "10.1.0.1/24" } }),
    );
    browser.until("document.getElementById('host-lb-1').dataset.state === 'ready'");
    assert_eq!(browser.value("document.querySelector('#summary .ready b').textContent"), "1");

    // What machines say is shown, and does nothing.
    let hostile = "<img src=x onerror='window.broken=1'><script>window.broken=1</script>";
    report(&served, UUID, &json!({ "phase": "stopped", "message": hostile, "version": "7" }));
    browser.until("document.getElementById('host-node-2').innerText.includes('<script>')");
    assert_eq!(browser.value("typeof window.broken"), "undefined");
    assert_eq!(browser.value("document.querySelectorAll('#hosts img, #hosts script').length"), 0);
    served.get("/hosts/52-54-00-00-00-99/boot.ipxe");
    browser.until("document.getElementById('strangers').innerText.includes('52-54-00-00-00-99')");

    // People look for one, or for trouble.
    let find = "(() => { const find = document.getElementById('find'); find.value = 'LB-1'; \
                find.dispatchEvent(new Event('input')); \
                return [...document.getElementById('hosts').rows].filter(row => !row.hidden).length })()";
    assert_eq!(browser.value(find), 1);
    browser.value("find.value = ''; document.getElementById('troubled').click()");
    let shown = "[...document.getElementById('hosts').rows].filter(row => !row.hidden).map(row => row.id).join()";
    assert_eq!(browser.value(shown), "host-node-2");
    browser.value("document.getElementById('troubled').click()");

    report(
        &served,
        UUID,
        &json!({ "phase": "stopped", "version": "7",
        "message": "user-data:3: unknown key 'hostnam'; did you mean 'hostname'?" }),
    );
    browser.until("document.getElementById('host-node-2').innerText.includes('hostnam')");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for scheme in ["light", "dark"] {
        browser.picture(scheme, &folder.join(format!("fleet-{scheme}.png")));
    }
    println!("pictures: {}/fleet-light.png, fleet-dark.png", folder.display());
    // The console of the browser is empty: no policy was violated, nothing was missing.
    let complaints: Vec<&Value> =
        browser.events.iter().filter(|it| it["method"] == "Log.entryAdded").collect();
    assert!(complaints.is_empty(), "{complaints:?}");

    // When the server is gone the page says so, and comes back with it.
    let port = served.address("http").port();
    drop(served);
    browser.until("document.getElementById('live').textContent.startsWith('no connection')");
    let served = site.serve(&["--listen", &format!("127.0.0.1:{port}")]);
    browser.until("document.getElementById('live').textContent === 'live'");
    browser.until("document.getElementById('host-lb-1').dataset.state === 'unseen'");
    drop(served);
}
