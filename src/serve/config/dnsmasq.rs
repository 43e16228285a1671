// SPDX-License-Identifier: Apache-2.0
//! dnsmasq: addresses, and which first stage a machine loads.
//!
//! A machine says its architecture in DHCP's option 93: RFC 4578, section 2.1, with the numbers of
//! IANA's registry "Processor Architecture Types" (0 BIOS, 7 and 9 UEFI x86-64, 16 UEFI x86-64 by HTTP).
//! An iPXE says that it is one in option 77.

use super::Inputs;

/// What both kinds begin with.
const MATCHES: &str = "\
# No names: DHCP and TFTP only.
port=0
# What a machine can load: RFC 4578.
dhcp-match=set:bios,option:client-arch,0
dhcp-match=set:efi,option:client-arch,7
dhcp-match=set:efi,option:client-arch,9
dhcp-match=set:efihttp,option:client-arch,16
dhcp-userclass=set:ipxe,iPXE
";

/// dnsmasq gives every known host its own address.
pub(super) fn own(inputs: &Inputs<'_>) -> String {
    let networks = &inputs.cluster.networks;
    let network = networks.hosts;
    let mask = std::net::Ipv4Addr::from_bits(
        u32::MAX.checked_shl(32 - u32::from(network.prefix)).unwrap_or(0),
    );
    let url = inputs.base.url(false);
    let gateway = networks.gateway.map(|it| format!("dhcp-option=option:router,{it}\n"));
    let servers: Vec<String> =
        networks.nameservers.iter().filter(|it| it.is_ipv4()).map(ToString::to_string).collect();
    let servers = match servers.is_empty() {
        true => String::new(),
        false => format!("dhcp-option=option:dns-server,{}\n", servers.join(",")),
    };
    format!(
        "# Written by kiln serve --write-config: DHCP for the hosts of '{cluster}', each with its own\n\
         # address, and TFTP for the first stage. Machines that are no hosts get none.\n\
         {MATCHES}\
         dhcp-authoritative\n\
         dhcp-range={network},static,{mask},1h\n\
         # Read again on SIGHUP.\n\
         dhcp-hostsfile={folder}/dhcp-hosts\n\
         {gateway}{servers}\
         dhcp-boot=tag:bios,tag:!ipxe,undionly.kpxe\n\
         dhcp-boot=tag:efi,tag:!ipxe,ipxe.efi\n\
         # Firmware that loads by HTTP must be told so.\n\
         dhcp-boot=tag:efihttp,tag:!ipxe,{url}/ipxe/ipxe.efi\n\
         dhcp-option-force=tag:efihttp,60,HTTPClient\n\
         dhcp-boot=tag:ipxe,{url}/boot.ipxe\n\
         {tftp}",
        cluster = inputs.cluster.name,
        network = network.network,
        folder = inputs.folder,
        gateway = gateway.unwrap_or_default(),
        tftp = tftp(inputs),
    )
}

/// Another server gives the addresses; dnsmasq only says what to load.
pub(super) fn beside(inputs: &Inputs<'_>) -> String {
    let (network, url) = (inputs.cluster.networks.hosts.network, inputs.base.url(false));
    format!(
        "# Written by kiln serve --write-config: what to load, for a network whose addresses come from\n\
         # another DHCP server. Firmware that loads by HTTP does not understand this: let that server\n\
         # answer it.\n\
         {MATCHES}\
         dhcp-range={network},proxy\n\
         pxe-service=tag:!ipxe,x86PC,\"iPXE\",undionly.kpxe\n\
         pxe-service=tag:!ipxe,X86-64_EFI,\"iPXE\",ipxe.efi\n\
         pxe-service=tag:!ipxe,BC_EFI,\"iPXE\",ipxe.efi\n\
         dhcp-boot=tag:ipxe,{url}/boot.ipxe\n\
         {}",
        tftp(inputs)
    )
}

fn tftp(inputs: &Inputs<'_>) -> String {
    format!("enable-tftp\ntftp-root={}\n", inputs.first_stage)
}

/// A line for each host that has a MAC address and an address of the network.
pub(super) fn hosts(inputs: &Inputs<'_>) -> String {
    let network = inputs.cluster.networks.hosts;
    let all = inputs.cluster.hosts.iter();
    all.filter(|(_, host)| network.contains(host.address.address))
        .filter_map(|(name, host)| Some((name, host.mac.as_ref()?, host.address.address)))
        .map(|(name, mac, address)| format!("{mac},{address},{name}\n"))
        .collect()
}
