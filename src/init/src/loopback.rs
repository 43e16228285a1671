// SPDX-License-Identifier: Apache-2.0
//! Sockets of tests.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

/// An address at which nobody listens, while the socket lives, because it is bound to it.
///
/// The port of a listener that was closed is not that: a child that another test just started
/// has the listener too until it executes its program, and any other test may get the port.
pub(crate) fn closed() -> (OwnedFd, SocketAddr) {
    let holder = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&holder, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = getsockname(&holder).unwrap().try_into().unwrap();
    (holder, address)
}
