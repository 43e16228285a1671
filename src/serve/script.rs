// SPDX-License-Identifier: Apache-2.0
//! What iPXE is told: first to ask who it is, then what that host boots.
//!
//! <https://ipxe.org/scripting>. Addresses inside are relative where they can be, so that the same
//! files are right on another server.

use super::images::Image;

/// How machines reach the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Name or address as URLs have it.
    pub host: String,
    pub http: u16,
    pub https: Option<u16>,
}

impl Base {
    /// A server that speaks HTTP alone.
    pub fn of_name(name: &str, port: u16) -> Self {
        Self { host: host(name), http: port, https: None }
    }

    /// Without a path. First boot knows no TLS: metadata are asked by `http`.
    pub fn url(&self, secure: bool) -> String {
        let (scheme, port, usual) = match self.https {
            Some(port) if secure => ("https", port, 443),
            _ => ("http", self.http, 80),
        };
        let port = if port == usual { String::new() } else { format!(":{port}") };
        format!("{scheme}://{}{port}", self.host)
    }
}

/// A name or address as URLs have it.
pub(super) fn host(name: &str) -> String {
    let is_v6 = name.parse::<std::net::Ipv6Addr>().is_ok();
    if is_v6 { format!("[{name}]") } else { name.to_owned() }
}

/// The same for every machine: asks for the script of the interface that it booted from, of each other
/// one, of the machine.
pub(super) const FIRST: &str = "#!ipxe
:again
chain --replace --autofree hosts/${netX/mac:hexhyp}/boot.ipxe ||
set index:int32 0
:next
isset ${net${index}/mac} || goto machine
chain --replace --autofree hosts/${net${index}/mac:hexhyp}/boot.ipxe ||
inc index
goto next
:machine
chain --replace --autofree hosts/${uuid}/boot.ipxe ||
echo kiln: the server does not know this machine: MAC ${netX/mac}, UUID ${uuid}
echo kiln: write one of them down in cluster.yaml; asking again in 30 seconds
sleep 30
goto again
";

/// For an iPXE that came by TFTP, and looks there for what to do.
pub(super) fn first_by_tftp(base: &Base) -> String {
    format!("#!ipxe\nchain --replace --autofree {}/boot.ipxe\n", base.url(false))
}

/// What a script of a host says.
#[derive(Debug)]
pub(super) struct Boot<'a> {
    pub(super) host: &'a str,
    pub(super) role: &'a str,
    /// The MAC address or UUID that it asked with.
    pub(super) key: &'a str,
    /// Words for its kernel, with blanks between them.
    pub(super) arguments: &'a str,
    pub(super) image: Option<&'a Image>,
    /// Whether its metadata are served, and the digest of `SHA256SUMS` if they are to be pinned.
    pub(super) metadata: Option<Option<String>>,
}

/// Boots the host's role with its metadata. `root` is where images lie: the server, or nothing if
/// that is where the script comes from.
pub(super) fn boot(boot: &Boot<'_>, base: &Base, secure: bool) -> String {
    let Boot { host, role, key, arguments, image, metadata } = boot;
    let again = "sleep 10\nchain --replace --autofree ../../boot.ipxe\n";
    let Some((image, script)) = image.and_then(|image| Some((image, image.script.as_ref()?)))
    else {
        return format!(
            "#!ipxe\n\
             echo kiln: {host} has the role {role}, of which the server has nothing for netboot\n\
             {again}"
        );
    };
    let place = format!("{}/hosts/{key}/", base.url(false));
    let pin = |pin: &Option<String>| pin.as_ref().map(|it| format!("#sha256={it}"));
    let url = metadata
        .as_ref()
        .map(|it| format!("kiln.url={place}{} ", pin(it).unwrap_or_default()))
        .unwrap_or_default();
    let arguments = if arguments.is_empty() { String::new() } else { format!(" {arguments}") };
    let (version, id, images) = (&image.version, &image.id, base.url(secure));
    format!(
        "#!ipxe\n\
         # {host}: {role}, version {version}\n\
         set kiln-arguments {url}kiln.report={place}{arguments}\n\
         chain --autofree {images}/images/{role}/v-{id}/{script} ||\n\
         echo kiln: {host} cannot load {role} version {version}; asking again in 10 seconds\n\
         imgfree\n\
         {again}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_urls_have_them() {
        let base = |host: &str, http, https| Base { host: super::host(host), http, https };
        assert_eq!(base("10.0.0.1", 8080, None).url(true), "http://10.0.0.1:8080");
        assert_eq!(base("fd00::1", 80, Some(443)).url(true), "https://[fd00::1]");
        assert_eq!(base("boot.example.org", 80, Some(8443)).url(false), "http://boot.example.org");
    }

    #[test]
    fn a_role_that_is_not_built_is_said_and_asked_for_again() {
        let wanted =
            Boot { host: "n1", role: "node", key: "k", arguments: "", image: None, metadata: None };
        let base = Base { host: "a".to_owned(), http: 80, https: None };
        let text = boot(&wanted, &base, false);
        assert!(text.starts_with("#!ipxe\necho kiln: n1 has the role node"), "{text}");
        assert!(text.ends_with("chain --replace --autofree ../../boot.ipxe\n"), "{text}");
    }
}
