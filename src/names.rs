// SPDX-License-Identifier: Apache-2.0
//! What names may look like: of hosts, packages, units, modules, sysctls, users, files.
//!
//! Each function gives the name as Kiln uses it, or says which rule it breaks. Nothing that
//! passes here can break out of the line, path or command line that it is written into.

use kiln_init::metadata::PEERS;

use crate::{diagnostic::quoted, tree::TreePath, yaml::fields::Complaint};

type Checked<T> = Result<T, Complaint>;

/// What differs from one kind of name to the next.
struct Rule {
    what: &'static str,
    help: &'static str,
    longest: usize,
    first: fn(u8) -> bool,
    rest: fn(u8) -> bool,
}

impl Rule {
    fn check(&self, text: &str) -> Checked<String> {
        let good = match text.as_bytes() {
            [first, rest @ ..] => {
                (self.first)(*first) && rest.iter().all(|byte| (self.rest)(*byte))
            }
            [] => false,
        };
        if good && text.len() <= self.longest {
            return Ok(text.to_owned());
        }
        Err(Complaint::new(format!("{} is no {}", quoted(text), self.what), self.help))
    }
}

const fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

const LABEL: Rule = Rule {
    what: "DNS label",
    help: "lower-case letters, digits and '-', at most 63, with a letter or digit at both ends (RFC 1123)",
    longest: 63,
    first: lower_or_digit,
    rest: |byte| lower_or_digit(byte) || byte == b'-',
};

/// A host name without dots, a cluster's name (RFC 1123 section 2.1).
pub fn label(text: &str) -> Checked<String> {
    if text.ends_with('-') {
        return Err(Complaint::new(format!("{} is no {}", quoted(text), LABEL.what), LABEL.help));
    }
    LABEL.check(text)
}

/// DNS labels joined by dots.
pub fn domain(text: &str) -> Checked<String> {
    if text.len() > 253 {
        return Err(Complaint::new(
            format!("{} is no domain name", quoted(text)),
            "a domain name has at most 253 characters (RFC 1035)",
        ));
    }
    text.split('.').try_for_each(|part| label(part).map(drop))?;
    Ok(text.to_owned())
}

/// A version of images. It becomes part of file names and partition labels, where `_` and `+`
/// are separators.
pub fn version(text: &str) -> Checked<String> {
    Rule {
        what: "image version",
        help: "letters, digits, '.', '~', '^' and '-', beginning with a letter or digit",
        longest: 24,
        first: |byte| byte.is_ascii_alphanumeric(),
        rest: |byte| byte.is_ascii_alphanumeric() || b".~^-".contains(&byte),
    }
    .check(text)
}

/// A profile or an overlay.
pub fn part(text: &str) -> Checked<String> {
    Rule {
        what: "name of a profile or overlay",
        help: "lower-case letters, digits and '-', beginning with a letter or digit",
        longest: 63,
        first: lower_or_digit,
        rest: |byte| lower_or_digit(byte) || byte == b'-',
    }
    .check(text)
}

/// An add-on.
pub fn addon(text: &str) -> Checked<String> {
    part(text).map_err(|complaint| Complaint {
        what: complaint.what.replace("a profile or overlay", "an add-on"),
        ..complaint
    })
}

/// A Debian package (Policy section 5.6.1).
pub fn package(text: &str) -> Checked<String> {
    Rule {
        what: "package name",
        help: "lower-case letters, digits, '+', '-' and '.', at least two",
        longest: 128,
        first: lower_or_digit,
        rest: |byte| lower_or_digit(byte) || b"+-.".contains(&byte),
    }
    .check(text)
    .and_then(|name| {
        let complaint = || Complaint {
            what: format!("{} is no package name", quoted(text)),
            help: Some("a package name has at least two characters".to_owned()),
        };
        (name.len() > 1).then_some(name).ok_or_else(complaint)
    })
}

/// A Debian suite or component: `trixie`, `non-free-firmware`.
pub fn suite(text: &str) -> Checked<String> {
    Rule {
        what: "name of a suite or component",
        help: "a codename such as 'trixie', a component such as 'main'",
        longest: 64,
        first: |byte| byte.is_ascii_lowercase(),
        rest: |byte| lower_or_digit(byte) || byte == b'-',
    }
    .check(text)
}

const UNIT_TYPES: [&str; 10] = [
    "service",
    "socket",
    "target",
    "timer",
    "mount",
    "automount",
    "path",
    "slice",
    "swap",
    "device",
];

/// A systemd unit (systemd.unit(5)); `.service` is added to a name without a type.
pub fn unit(text: &str) -> Checked<String> {
    let name = Rule {
        what: "unit name",
        help: "letters, digits and ':-_.\\@', then '.' and the type: 'haproxy.service'",
        longest: 255,
        first: |byte| byte.is_ascii_alphanumeric() || b":_\\-".contains(&byte),
        rest: |byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte),
    }
    .check(text)?;
    match name.rsplit_once('.') {
        None => Ok(format!("{name}.service")),
        Some((stem, kind)) if UNIT_TYPES.contains(&kind) && !stem.is_empty() => Ok(name),
        Some((_, kind)) => Err(Complaint::new(
            format!("{} is no unit name: there is no unit type {}", quoted(text), quoted(kind)),
            crate::diagnostic::suggest(kind, UNIT_TYPES),
        )),
    }
}

/// A unit that the system can boot to.
pub fn target(text: &str) -> Checked<String> {
    if !text.ends_with(".target") {
        return Err(Complaint::new(
            format!("{} is no target", quoted(text)),
            "write a unit that ends in '.target'",
        ));
    }
    unit(text)
}

/// A kernel module; `-` and `_` are the same to the kernel.
pub fn module(text: &str) -> Checked<String> {
    Rule {
        what: "module name",
        help: "the name alone, without folder and '.ko': 'ip_vs'",
        longest: 64,
        first: |byte| byte.is_ascii_alphanumeric(),
        rest: |byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte),
    }
    .check(text)
}

/// A key of sysctl.d(5), with dots.
pub fn sysctl(text: &str) -> Checked<String> {
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/*".contains(&byte))
    };
    if text.len() <= 255 && text.contains('.') && text.split('.').all(part) {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(
        format!("{} is no sysctl key", quoted(text)),
        "write it with dots, as 'net.ipv4.ip_forward'",
    ))
}

/// A sysctl's value: numbers or words on one line.
pub fn sysctl_value(text: &str) -> Checked<String> {
    if matches!(text, "true" | "false" | "yes" | "no" | "on" | "off") {
        return Err(Complaint::new(format!("{} is no sysctl value", quoted(text)), "write 1 or 0"));
    }
    line(text)
}

/// A user or group (systemd's strict rule).
pub fn account(text: &str) -> Checked<String> {
    Rule {
        what: "user or group name",
        help: "lower-case letters, digits, '-' and '_', at most 31, beginning with a letter or '_'",
        longest: 31,
        first: |byte| byte.is_ascii_lowercase() || byte == b'_',
        rest: |byte| lower_or_digit(byte) || b"-_".contains(&byte),
    }
    .check(text)
}

/// A name that templates can use: `vars.name`, or `vars["na-me"]`.
pub fn variable(text: &str) -> Checked<String> {
    Rule {
        what: "name of a variable",
        help: "letters, digits, '_' and '-', beginning with a letter or '_'",
        longest: 64,
        first: |byte| byte.is_ascii_alphabetic() || byte == b'_',
        rest: |byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte),
    }
    .check(text)
}

/// The same, of a host.
pub fn host_variable(text: &str) -> Checked<String> {
    if text == PEERS {
        return Err(Complaint::new(
            format!("'{text}' is not yours to set"),
            "every seed has the hosts that its host calls there: take another name",
        ));
    }
    variable(text)
}

/// One argument of the kernel's command line.
pub fn kernel_argument(text: &str) -> Checked<String> {
    let key = text.split('=').next().unwrap_or_default();
    if key == kiln_contract::cmdline::ROOTHASH {
        return Err(Complaint::new(
            format!("'{key}' is not yours to set"),
            "the build adds it: it names the root that the image was built with",
        ));
    }
    if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return Err(Complaint::new(
            format!("kernel argument {} contains a space", quoted(text)),
            "write one argument per entry of the list",
        ));
    }
    if !text.is_ascii() || text.bytes().any(|byte| byte.is_ascii_control()) || text.contains('"') {
        return Err(Complaint::new(
            format!("kernel argument {} is not plain text", quoted(text)),
            "printable ASCII without quotes",
        ));
    }
    Ok(text.to_owned())
}

/// The same, handed over by a script of iPXE.
pub fn netboot_argument(text: &str) -> Checked<String> {
    if text.contains(['$', '#', '&', '|', '\'', '\\']) {
        return Err(Complaint::new(
            format!("kernel argument {} does not pass iPXE", quoted(text)),
            "write it without '$', '#', '&', '|', '\\' and without quotes",
        ));
    }
    kernel_argument(text)
}

/// Text without line breaks or other control characters.
pub fn line(text: &str) -> Checked<String> {
    if text.chars().any(char::is_control) {
        return Err(Complaint::new(
            format!("{} contains a control character", quoted(text)),
            "write it on one line",
        ));
    }
    Ok(text.to_owned())
}

/// A field of `/etc/passwd`.
pub fn passwd_field(text: &str) -> Checked<String> {
    if text.contains(':') {
        return Err(Complaint::new(
            format!("{} contains ':'", quoted(text)),
            "':' separates the fields of /etc/passwd",
        ));
    }
    line(text)
}

/// An absolute path of the image, other than `/`.
pub fn path(text: &str) -> Checked<TreePath> {
    if !text.starts_with('/') {
        return Err(Complaint::new(
            format!("{} is no absolute path", quoted(text)),
            format!("did you mean {}?", quoted(&format!("/{text}"))),
        ));
    }
    let path = TreePath::new(text).map_err(|error| {
        Complaint::new(error.to_string(), "write the path as it is on the node")
    })?;
    if path == TreePath::root() {
        return Err(Complaint::new("'/' cannot be replaced", "name something below it"));
    }
    Ok(path)
}

/// A file below the workspace.
pub fn workspace_path(text: &str) -> Checked<String> {
    let inside = !text.starts_with('/') && !text.split('/').any(|part| part == "..");
    if inside {
        return line(text);
    }
    Err(Complaint::new(
        format!("{} is not below the workspace", quoted(text)),
        "write a relative path without '..'",
    ))
}

/// A pattern of paths: absolute, `*` within a component, `**` as a whole component.
pub fn pattern(text: &str) -> Checked<String> {
    let complaint = |help: &str| Complaint::new(format!("{} is no pattern", quoted(text)), help);
    let Some(relative) = text.strip_prefix('/') else {
        return Err(complaint("patterns are absolute: they begin with '/'"));
    };
    for component in relative.split('/') {
        if component.is_empty() || component == "." || component == ".." {
            return Err(complaint("no component is empty, '.' or '..'"));
        }
        if component.contains("**") && component != "**" {
            return Err(complaint("'**' stands alone between slashes"));
        }
    }
    line(text)
}

/// Permission bits in octal: `0644`.
pub fn mode(text: &str) -> Checked<u16> {
    let digits =
        matches!(text.len(), 3 | 4) && text.bytes().all(|byte| (b'0'..b'8').contains(&byte));
    let mode = digits.then(|| u16::from_str_radix(text, 8).ok()).flatten();
    mode.ok_or_else(|| {
        Complaint::new(format!("{} is no mode", quoted(text)), "write octal digits, such as 0644")
    })
}

/// An ethernet address; the result is lower case with colons.
pub fn mac(text: &str) -> Checked<String> {
    let lower = text.to_ascii_lowercase().replace('-', ":");
    let parts: Vec<&str> = lower.split(':').collect();
    let good = parts.len() == 6
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
    if !good {
        return Err(Complaint::new(
            format!("{} is no MAC address", quoted(text)),
            "write six bytes with colons, as 52:54:00:31:00:24",
        ));
    }
    let first = u8::from_str_radix(parts[0], 16).expect("two hex digits");
    if first & 1 == 1 {
        return Err(Complaint::new(
            format!("{} is a multicast address", quoted(text)),
            "the first byte of an interface's address is even",
        ));
    }
    Ok(lower)
}

/// What a machine's firmware states as its UUID; the result is lower case.
pub fn machine_uuid(text: &str) -> Checked<String> {
    let lower = text.to_ascii_lowercase();
    let parsed = uuid::Uuid::try_parse(&lower).ok();
    let Some(uuid) = parsed.filter(|uuid| uuid.hyphenated().to_string() == lower) else {
        return Err(Complaint::new(
            format!("{} is no UUID", quoted(text)),
            "write it as /sys/class/dmi/id/product_uuid shows it",
        ));
    };
    if uuid.is_nil() || uuid.is_max() {
        return Err(Complaint::new(
            format!("{} is what boards state that have no UUID", quoted(text)),
            "name the machine by its 'mac'",
        ));
    }
    Ok(lower)
}

/// A key of OpenSSH's `authorized_keys`.
pub fn ssh_key(text: &str) -> Checked<String> {
    let mut words = text.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let known = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@", "sk-ecdsa-sha2-"];
    let body = words.next().unwrap_or_default();
    if known.iter().any(|known| kind.starts_with(known)) && body.starts_with("AAAA") {
        return line(text);
    }
    Err(Complaint::new(
        format!("{} is no ssh public key", quoted(text)),
        "write one line of a '.pub' file: 'ssh-ed25519 AAAA... comment'",
    ))
}

/// `http://` or `https://` and something behind it.
pub fn url(text: &str) -> Checked<String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let good = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(Complaint::new(
        format!("{} is no address of an archive", quoted(text)),
        "it begins with http:// or https://",
    ))
}

/// A place that kiln-init asks for metadata; `{mac}`, `{uuid}` and `{serial}` are filled in there.
pub fn metadata_url(text: &str) -> Checked<String> {
    let good = text.strip_prefix("http://").is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.split('/').next().unwrap_or("").contains('@')
    });
    if good && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(
        format!("{} is no address that first boot can ask", quoted(text)),
        "it begins with http:// and has no user; '#sha256=' pins what is there",
    ))
}

/// A file below `/etc`, or a folder, which ends with `/`.
pub fn writable(text: &str) -> Checked<String> {
    let checked = path(text.strip_suffix('/').unwrap_or(text))?;
    if checked.as_str().starts_with("etc/") || checked.as_str().starts_with("/etc/") {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(
        format!("{} is not below /etc", quoted(text)),
        "metadata writes nowhere else; a folder ends with '/'",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(check: impl Fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(check(text), "{text} is good");
        }
        for text in bad {
            assert!(!check(text), "{text} is bad");
        }
    }

    #[test]
    fn names_follow_their_rules() {
        let long = "a".repeat(64);
        agree(
            |t| label(t).is_ok(),
            &["a", "k8s-master-1", "1"],
            &["", "-a", "a-", "A", "a_b", "a.b", "é", &long],
        );
        agree(|t| domain(t).is_ok(), &["cluster.local", "a"], &["", "a..b", ".a", "a.", "A.b"]);
        agree(
            |t| version(t).is_ok(),
            &["1", "1.10", "2026.11~rc1"],
            &["", "1_2", "1+2", "-1", "a b", "1/2"],
        );
        agree(
            |t| package(t).is_ok(),
            &["gcc", "libstdc++6", "g++"],
            &["a", "Gcc", "gcc:amd64", "a b", "../x"],
        );
        agree(
            |t| module(t).is_ok(),
            &["ip_vs", "nls-cp437", "8021q"],
            &["", "ip_vs.ko", "net/ip_vs", "a b"],
        );
        agree(
            |t| sysctl(t).is_ok(),
            &["net.ipv4.ip_forward", "net.ipv4.conf.eth0/1.rp_filter", "net.ipv4.conf.*.rp_filter"],
            &["ip_forward", "net..x", "net.ipv4.x=1", "a b.c", ".a"],
        );
        agree(
            |t| account(t).is_ok(),
            &["etcd", "_chrony", "www-data"],
            &["", "Root", "a:b", "1a", "a b"],
        );
        agree(
            |t| netboot_argument(t).is_ok(),
            &["quiet", "kiln.install=model:A_B*,smallest", "a=b"],
            &["a b", "${net0/ip}", "a||b", "a&&b", "#", "a'b", "a\\b", "a\nb"],
        );
        agree(|t| variable(t).is_ok(), &["priority", "_a1", "a-b", "peers"], &["a.b", "1a", ""]);
        agree(|t| host_variable(t).is_ok(), &["priority", "a-b"], &["peers", "a.b", ""]);
        agree(
            |t| kernel_argument(t).is_ok(),
            &["quiet", "console=ttyS0,115200n8"],
            &["a b", "roothash=0", "a=\"b\"", "a\nb", "é"],
        );
        agree(
            |t| mode(t).is_ok(),
            &["0644", "755", "4755"],
            &["", "0", "0888", "rw", "06440", "+644"],
        );
        agree(
            |t| pattern(t).is_ok(),
            &["/usr/share/doc/**", "/usr/**/*.a", "/a*b"],
            &["usr", "/", "/a//b", "/a/../b", "/a/**b", "/a/"],
        );
        agree(
            |t| ssh_key(t).is_ok(),
            &["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@host"],
            &["ssh-ed25519", "AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----", "ssh-rsa AAAA\nx"],
        );
        agree(
            |t| url(t).is_ok(),
            &["http://a/debian"],
            &["a/debian", "ftp://a", "http://", "http:///a", "http://a b"],
        );
        agree(
            |t| workspace_path(t).is_ok(),
            &["target/kubelet"],
            &["/etc/passwd", "../x", "a/../../b", "a\nb"],
        );
        agree(|t| path(t).is_ok(), &["/etc/x"], &["etc/x", "/", "/a/../b", "/a\n"]);
    }

    #[test]
    fn units_without_a_type_are_services() {
        assert_eq!(unit("haproxy").as_deref(), Ok("haproxy.service"));
        assert_eq!(unit("fstrim.timer").as_deref(), Ok("fstrim.timer"));
        assert_eq!(unit("serial-getty@ttyS0.service").as_deref(), Ok("serial-getty@ttyS0.service"));
        for bad in ["", "a b", "a/b.service", "haproxy.servise", ".service"] {
            assert!(unit(bad).is_err(), "{bad}");
        }
        assert!(target("multi-user").is_err());
    }

    #[test]
    fn mac_addresses_have_one_form() {
        assert_eq!(mac("52-54-00-AB-00-24").as_deref(), Ok("52:54:00:ab:00:24"));
        let uuid = "4c4c4544-0042-3510-8051-B4C04F4E3232";
        assert_eq!(machine_uuid(uuid).as_deref(), Ok(&*uuid.to_ascii_lowercase()));
        for bad in ["", "4c4c45440042351080 51b4c04f4e3232", "00000000-0000-0000-0000-000000000000"]
        {
            assert!(machine_uuid(bad).is_err(), "{bad}");
        }
        for bad in ["52:54:00:31:00", "01:00:5e:00:00:01", "52:54:00:31:00:gg", "525400310024"] {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }
}
