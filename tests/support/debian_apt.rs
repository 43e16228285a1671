// SPDX-License-Identifier: Apache-2.0
//! An apt of its own: the real archive, seen through `apt-get` as an oracle.
//!
//! Sources, lists, cache and dpkg status lie in a folder of the build, the keys are ours, and
//! nothing of the host's apt takes part but the archive's address and the proxy.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use kiln::debian::keyring::Keyring;

/// Some suites, seen by apt.
pub(crate) struct Apt {
    folder: PathBuf,
    suites: &'static [Place],
    preferences: String,
    /// Base addresses of the archive and of the security archive.
    archives: [String; 2],
}

/// One signed suite as apt downloaded it.
pub(crate) struct Suite {
    /// `debian` or `debian-security`.
    pub(crate) archive: &'static str,
    pub(crate) name: &'static str,
    pub(crate) inrelease: Vec<u8>,
    /// `main/binary-amd64/Packages`
    pub(crate) packages: Vec<u8>,
}

/// Index of the archive, its name, the suite's.
type Place = (usize, &'static str, &'static str);

const SUITES: [Place; 3] = [
    (0, "debian", "trixie"),
    (0, "debian", "trixie-updates"),
    (1, "debian-security", "trixie-security"),
];

/// A base, and a suite of which nothing is taken unless it is asked for. Both are released: a mirror
/// may be behind with suites whose Release files expire.
pub(crate) const BASE_AND_NEWER: [&str; 2] = ["bookworm", "trixie"];
const MIXED: [Place; 2] = [(0, "debian", BASE_AND_NEWER[0]), (0, "debian", BASE_AND_NEWER[1])];

/// Trixie with its updates and security updates. The folder is made, and the lists brought up to
/// date, once in a test run.
pub(crate) fn apt() -> &'static Apt {
    static APT: OnceLock<Apt> = OnceLock::new();
    APT.get_or_init(|| Apt::new("apt", &SUITES, String::new()))
}

/// A base with a newer suite that gives way to it.
pub(crate) fn mixed_apt() -> &'static Apt {
    static APT: OnceLock<Apt> = OnceLock::new();
    APT.get_or_init(|| {
        let pin = format!("Package: *\nPin: release n={}\nPin-Priority: 100\n", BASE_AND_NEWER[1]);
        Apt::new("apt-mixed", &MIXED, pin)
    })
}

impl Apt {
    fn new(name: &str, suites: &'static [Place], preferences: String) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let apt = Self { folder, suites, preferences, archives: archives() };
        apt.prepare();
        apt.run(&["-q", "update"]);
        apt
    }

    /// The suites in the order in which a build lists them.
    pub(crate) fn suites(&self) -> Vec<Suite> {
        let read = |base: &str, suite: &str, file: &str| {
            let base = base.split_once("://").map_or(base, |(_, rest)| rest).replace('/', "_");
            let path = self.folder.join(format!("lists/{base}_dists_{suite}_{file}"));
            fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let suite = |(index, archive, name): &Place| Suite {
            archive,
            name,
            inrelease: read(&self.archives[*index], name, "InRelease"),
            packages: read(&self.archives[*index], name, "main_binary-amd64_Packages"),
        };
        self.suites.iter().map(suite).collect()
    }

    /// Name and version of what `apt-get install` would install on an empty system.
    pub(crate) fn simulate_install(&self, names: &[&str]) -> BTreeMap<String, String> {
        let mut arguments = vec!["-qq", "--simulate", "--no-install-recommends", "install"];
        arguments.extend(names);
        let output = String::from_utf8(self.run(&arguments).stdout).expect("UTF-8");
        // Inst haproxy (3.0.11-1+deb13u2 Debian:13.7/stable [amd64])
        output
            .lines()
            .filter_map(|line| line.strip_prefix("Inst "))
            .map(|line| {
                let (name, rest) = line.split_once(" (").expect(line);
                let (version, _) = rest.split_once(' ').expect(line);
                (name.to_owned(), version.to_owned())
            })
            .collect()
    }

    /// The path of a downloaded `.deb`.
    pub(crate) fn download(&self, name: &str) -> PathBuf {
        let folder = self.folder.join("debs").join(name);
        fs::create_dir_all(&folder).expect("a folder");
        run(self.command("apt-get").current_dir(&folder).args(["-qq", "download", name]));
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("entry").path())
            .collect();
        // An older version may lie there from an earlier run.
        files.sort_by_key(|path| path.metadata().and_then(|meta| meta.modified()).expect("time"));
        files.pop().expect("a downloaded package")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(self.command("apt-get").args(arguments))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    fn prepare(&self) {
        for folder in ["lists/partial", "cache/archives/partial", "state", "parts", "debs"] {
            fs::create_dir_all(self.folder.join(folder)).expect("a folder");
        }
        let write = |name: &str, bytes: &[u8]| {
            fs::write(self.folder.join(name), bytes).expect("a file");
        };
        write("state/status", b"");
        write("keys.gpg", &Keyring::debian_bytes());
        write("preferences", self.preferences.as_bytes());
        let sources: String = self
            .suites
            .iter()
            .map(|(index, _, suite)| {
                let keys = self.folder.join("keys.gpg");
                let base = &self.archives[*index];
                format!("deb [signed-by={}] {base} {suite} main\n", keys.display())
            })
            .collect();
        write("sources.list", sources.as_bytes());
        write("apt.conf", configuration(&self.folder).as_bytes());
    }
}

/// `pkgCacheGen::ForceEssential` names no package, because apt counts itself as essential
/// otherwise and adds its own closure to every answer.
fn configuration(folder: &Path) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut text = String::from(
        r#"APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::GzipIndexes "false";
Dir::Cache::srcpkgcache "";
Dir::Cache::pkgcache "";
pkgCacheGen::ForceEssential ",";
"#,
    );
    for (key, value) in [
        ("Dir::Etc::Parts", path("parts")),
        ("Dir::Etc::Main", path("none")),
        ("Dir::Etc::SourceList", path("sources.list")),
        ("Dir::Etc::SourceParts", path("parts")),
        ("Dir::Etc::Preferences", path("preferences")),
        ("Dir::Etc::PreferencesParts", path("parts")),
        ("Dir::Etc::Trusted", path("none")),
        ("Dir::Etc::TrustedParts", path("parts")),
        ("Dir::State", path("state")),
        ("Dir::State::Status", path("state/status")),
        ("Dir::State::Lists", path("lists")),
        ("Dir::Cache", path("cache")),
    ] {
        text += &format!("{key} \"{value}\";\n");
    }
    let host = run(Command::new("apt-config").arg("dump"));
    let host = String::from_utf8(host.stdout).expect("UTF-8");
    let proxies = host
        .lines()
        .filter(|line| line.starts_with("Acquire::http::") || line.starts_with("Acquire::https::"));
    proxies.for_each(|line| text += &format!("{line}\n"));
    text
}

/// The archives that the host's apt configuration names, else Debian's own.
fn archives() -> [String; 2] {
    let output = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]));
    let output = String::from_utf8(output.stdout).expect("UTF-8");
    let find = |suffix: &str| {
        let mut bases = output.lines().map(|line| line.trim_end_matches('/'));
        bases.find(|base| base.ends_with(suffix)).map(str::to_owned)
    };
    let debian = find("/debian").unwrap_or_else(|| "http://ftp.debian.org/debian".to_owned());
    let security = find("/debian-security");
    [debian, security.unwrap_or_else(|| "http://security.debian.org/debian-security".to_owned())]
}

/// Runs a program that has to succeed.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    output
}
