// SPDX-License-Identifier: Apache-2.0
//! Where metadata comes from in tests: media by foreign programs, and a server on QEMU's own network.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use kiln::qemu::Network;

fn run(command: &mut Command) {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Writes files below a new folder.
pub(crate) fn folder(scratch: &Path, files: &[(&str, &str)]) -> PathBuf {
    let folder = scratch.join("files");
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// An ISO by genisoimage; `names` is its option for long names.
pub(crate) fn iso(scratch: &Path, label: &str, names: &str, files: &[(&str, &str)]) -> PathBuf {
    let medium = scratch.join("medium.iso");
    let mut command = Command::new("genisoimage");
    command.args(["-quiet", "-V", label, names, "-o"]).arg(&medium).arg(folder(scratch, files));
    run(&mut command);
    medium
}

/// A FAT volume by mkfs.vfat and mcopy.
pub(crate) fn vfat(scratch: &Path, label: &str, files: &[(&str, &str)]) -> PathBuf {
    let medium = scratch.join("medium.img");
    run(Command::new("mkfs.vfat").args(["-n", label, "-C"]).arg(&medium).arg("2048"));
    for (name, _) in files {
        let source = folder(scratch, files).join(name);
        run(Command::new("mcopy").arg("-i").arg(&medium).arg(source).arg(format!("::{name}")));
    }
    medium
}

/// A network of QEMU's own in which one address serves these documents over HTTP: a program of the
/// shell that QEMU starts for each connection. A folder's document is its `index`. With a token,
/// `PUT` gives it, and nothing is had without it, as with EC2's service.
pub(crate) fn server(
    scratch: &Path,
    address: &str,
    token: Option<&str>,
    documents: &[(&str, &str)],
) -> Network {
    let root = folder(scratch, documents);
    fs::create_dir_all(&root).unwrap();
    let program = scratch.join("server");
    let script = SERVER
        .replace("ROOT", &root.display().to_string())
        .replace("TOKEN", token.unwrap_or_default());
    fs::write(&program, script).unwrap();
    let net = address.rsplit_once('.').unwrap().0;
    Network::Other(format!(
        "user,id=net,restrict=on,net={net}.0/24,guestfwd=tcp:{address}:80-cmd:/bin/sh {}",
        program.display()
    ))
}

const SERVER: &str = r#"
answer() {
  printf 'HTTP/1.1 %s\r\nContent-Length: %s\r\nConnection: close\r\n\r\n' "$1" "$2"
}
read -r method path rest
token=
while read -r line && [ ${#line} -gt 1 ]; do
  case $line in X-aws-ec2-metadata-token:*) token=${line#*: } token=${token%?};; esac
done
file=ROOT$path
[ ! -d "$file" ] || file=${file%/}/index
if [ "$method" = PUT ]; then answer '200 OK' $(printf TOKEN | wc -c); printf TOKEN
elif [ "$token" != "TOKEN" ]; then answer '401 Unauthorized' 0
elif [ -f "$file" ]; then answer '200 OK' $(wc -c <"$file"); cat "$file"
else answer '404 Not Found' 0
fi
"#;
