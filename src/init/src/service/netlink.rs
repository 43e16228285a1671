// SPDX-License-Identifier: Apache-2.0
//! Addresses and default routes by rtnetlink(7): a dump now, and a notice whenever they change.

use std::{
    net::IpAddr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink,
    },
};

use crate::error::{Result, Stop, While as _};

/// `RTMGRP_*` of linux/rtnetlink.h: addresses and routes of both families.
const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x1 | 0x300;
const HEADER: usize = 16;
/// A dump that does not end is not waited for.
const REPLY_TIME: Duration = Duration::from_secs(5);

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) interface: u32,
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
    /// Duplicate address detection is over, and the address is not link-local.
    pub(super) usable: bool,
}

/// Listens for changes from its making on.
#[derive(Debug)]
pub(super) struct Watch(OwnedFd);

impl Watch {
    pub(super) fn open() -> Result<Self> {
        Ok(Self(socket(GROUPS)?))
    }

    /// Waits for a change; false when the time is over.
    pub(super) fn wait(&self, deadline: Instant) -> Result<bool> {
        if !readable(&self.0, deadline)? {
            return Ok(false);
        }
        // What changed does not matter: everything is asked again.
        let mut buffer = vec![0; 64 << 10];
        loop {
            match rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => return Ok(true),
                Err(error) => return Err(error).during("reading network changes"),
            }
        }
    }
}

/// Every address of every interface.
pub(super) fn addresses() -> Result<Vec<Assigned>> {
    Ok(dump(RTM_GETADDR, 8)?
        .iter()
        .filter(|(kind, _)| *kind == RTM_NEWADDR)
        .filter_map(|(_, body)| assigned(body))
        .collect())
}

/// The interface of the default route with the lowest metric, IPv4 first.
pub(super) fn default_interface() -> Result<Option<u32>> {
    Ok(dump(RTM_GETROUTE, 12)?
        .iter()
        .filter(|(kind, _)| *kind == RTM_NEWROUTE)
        .filter_map(|(_, body)| default_route(body))
        .min()
        .map(|(_, _, interface)| interface))
}

/// Bodies of the messages that answer a dump request.
fn dump(kind: u16, body_len: usize) -> Result<Vec<(u16, Vec<u8>)>> {
    let task = "asking the kernel for addresses and routes";
    let socket = socket(0)?;
    let length = u32::try_from(HEADER + body_len).unwrap_or(0);
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.resize(HEADER + body_len, 0);
    rustix::net::send(&socket, &request, SendFlags::empty()).during(task)?;
    let deadline = Instant::now() + REPLY_TIME;
    let mut messages = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        if !readable(&socket, deadline)? {
            return Err(Stop::new(format_args!("{task}: no answer")));
        }
        let (n, _) =
            rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()).during(task)?;
        for (kind, body) in split(&buffer[..n], HEADER, 4) {
            match kind {
                NLMSG_DONE => return Ok(messages),
                NLMSG_ERROR => return Err(Stop::new(format_args!("{task}: it refused"))),
                _ => messages.push((kind, body.to_vec())),
            }
        }
    }
}

fn socket(groups: u32) -> Result<OwnedFd> {
    let task = "opening a netlink socket";
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is protocol 0.
        None,
    )
    .during(task)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups)).during(task)?;
    Ok(socket)
}

fn readable(socket: &OwnedFd, deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).during("waiting for the network")?;
        let mut sockets = [PollFd::new(socket, PollFlags::IN)];
        match rustix::event::poll(&mut sockets, Some(&timeout)) {
            Ok(n) => return Ok(n > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).during("waiting for the network"),
        }
    }
}

/// Splits records that begin with their own length and end on a multiple of four: messages
/// (length of 4 bytes) and attributes (2 bytes); the type follows the length.
fn split(bytes: &[u8], header: usize, length_size: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = match length_size {
            4 => usize::try_from(u32_at(rest, 0)?).ok()?,
            _ => usize::from(u16_at(rest, 0)?),
        };
        let kind = u16_at(rest, length_size)?;
        let body = rest.get(header..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, body))
    })
}

/// struct ifaddrmsg: family, prefix length, flags, scope, index; then attributes.
fn assigned(body: &[u8]) -> Option<Assigned> {
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    const TENTATIVE_OR_FAILED: u8 = 0x40 | 0x08;
    const SCOPE_UNIVERSE: u8 = 0;
    let (prefix, flags, scope) = (*body.get(1)?, *body.get(2)?, *body.get(3)?);
    let attribute = |wanted| {
        split(body.get(8..)?, 4, 2).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    };
    // IFA_LOCAL is the own address of a point-to-point link; IPv6 has only IFA_ADDRESS.
    let ip = ip(attribute(IFA_LOCAL).or_else(|| attribute(IFA_ADDRESS))?)?;
    let usable = flags & TENTATIVE_OR_FAILED == 0 && scope == SCOPE_UNIVERSE;
    Some(Assigned { interface: u32_at(body, 4)?, ip, prefix, usable })
}

/// struct rtmsg: family, destination length, source length, tos, table, protocol, scope, type.
/// Gives family, metric, interface, which sort as wanted.
fn default_route(body: &[u8]) -> Option<(u8, u32, u32)> {
    const RTA_OIF: u16 = 4;
    const RTA_PRIORITY: u16 = 6;
    const MAIN_TABLE: u8 = 254;
    const UNICAST: u8 = 1;
    let is_default = *body.get(1)? == 0 && *body.get(4)? == MAIN_TABLE && *body.get(7)? == UNICAST;
    let number = |wanted| {
        split(body.get(12..)?, 4, 2)
            .find(|(kind, _)| *kind == wanted)
            .and_then(|(_, value)| u32_at(value, 0))
    };
    let interface = number(RTA_OIF).filter(|_| is_default)?;
    Some((*body.first()?, number(RTA_PRIORITY).unwrap_or(0), interface))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_among_those_of_this_machine() {
        let addresses = addresses().unwrap();
        let loopback = addresses.iter().find(|it| it.ip == IpAddr::from([127, 0, 0, 1]));
        assert_eq!(loopback.map(|it| (it.interface, it.prefix)), Some((1, 8)));
        default_interface().unwrap();
    }

    #[test]
    fn a_watch_without_changes_ends_in_time() {
        let watch = Watch::open().unwrap();
        // The network of this machine may change at this moment; then there is a change to see.
        watch.wait(Instant::now()).unwrap();
    }

    #[test]
    fn messages_that_are_cut_off_give_nothing() {
        // family 2, prefix 24, flags, scope 0, interface 3, IFA_LOCAL 10.0.0.1
        let body = [2, 24, 0x80, 0, 3, 0, 0, 0, 8, 0, 2, 0, 10, 0, 0, 1];
        let whole = assigned(&body).unwrap();
        assert_eq!((whole.interface, whole.prefix, whole.usable), (3, 24, true));
        assert_eq!(whole.ip, IpAddr::from([10, 0, 0, 1]));
        for length in 0..body.len() {
            assert_eq!(assigned(&body[..length]), None);
        }
        // main table, unicast, RTA_OIF 3
        let route = [2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0, 8, 0, 4, 0, 3, 0, 0, 0];
        assert_eq!(default_route(&route), Some((2, 0, 3)));
        for length in 0..route.len() {
            assert_eq!(default_route(&route[..length]), None);
        }
    }
}
