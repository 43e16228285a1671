// SPDX-License-Identifier: Apache-2.0
//! VMware's guest RPC: keys of the virtual machine, over the hypervisor's two I/O ports.
//!
//! The protocol as open-vm-tools speaks it (`lib/message/message.c`, `lib/include/backdoor_def.h`):
//! commands on the low-bandwidth port open a channel and announce lengths, strings travel over the
//! high-bandwidth port. [`Ports`] stands for the two instructions, so that everything else is
//! tested against transcripts.

use std::io;

const MAGIC: u32 = 0x564d_5868;
const LOW: u32 = 0x5658;
const HIGH: u32 = 0x5659;
const MESSAGE: u32 = 0x1e;
/// "RPCI", with the flag that asks for cookies.
const RPCI: u32 = 0x4943_5052 | 0x8000_0000;
const OPEN: u32 = 0;
const SEND_SIZE: u32 = 1;
const RECEIVE_SIZE: u32 = 3;
const RECEIVE_STATUS: u32 = 5;
const CLOSE: u32 = 6;
const HIGH_MESSAGE: u32 = 0x0001_0000;
/// Bits of the status, in the upper half of `ecx`.
const SUCCESS: u32 = 0x0001_0000;
/// Bytes of a reply: a value, and the status in front of it.
const REPLY_MAX: usize = (64 << 10) + 1024;

/// What the hypervisor reads from and writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Registers {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
    pub esi: u32,
    pub edi: u32,
    pub ebp: u32,
}

/// The instructions.
pub trait Ports {
    /// `in eax, dx`
    fn command(&mut self, registers: Registers) -> Registers;
    /// `rep outsb`: `esi` is the bytes' address, set by the implementation.
    fn send(&mut self, registers: Registers, bytes: &[u8]) -> Registers;
    /// `rep insb`: `edi` is the buffer's address, set by the implementation.
    fn receive(&mut self, registers: Registers, buffer: &mut [u8]) -> Registers;
}

/// The value of a key; none if it is not set.
///
/// # Errors
/// The hypervisor does not answer as the protocol says, or the value is larger than it may be.
pub fn get(ports: &mut dyn Ports, key: &str) -> io::Result<Option<Vec<u8>>> {
    let reply = call(ports, format!("info-get {key}").as_bytes())?;
    match reply.split_first() {
        Some((b'1', rest)) => Ok(Some(rest.strip_prefix(b" ").unwrap_or(rest).to_vec())),
        Some((b'0', _)) => Ok(None),
        _ => Err(broken("a reply without a status")),
    }
}

/// Sets a key.
///
/// # Errors
/// As [`get`], or the hypervisor refuses.
pub fn set(ports: &mut dyn Ports, key: &str, value: &str) -> io::Result<()> {
    let reply = call(ports, format!("info-set {key} {value}").as_bytes())?;
    match reply.first() {
        Some(b'1') => Ok(()),
        _ => Err(broken("the hypervisor refuses to set a key")),
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::other(format!("VMware's guest RPC: {what}"))
}

/// One request and its reply, over a channel of its own.
fn call(ports: &mut dyn Ports, request: &[u8]) -> io::Result<Vec<u8>> {
    let opened = ports.command(Registers {
        eax: MAGIC,
        ebx: RPCI,
        ecx: OPEN << 16 | MESSAGE,
        edx: LOW,
        ..Registers::default()
    });
    if opened.ecx & SUCCESS == 0 {
        return Err(broken("no channel"));
    }
    let mut channel =
        Channel { ports, number: opened.edx & 0xffff_0000, cookies: [opened.esi, opened.edi] };
    let reply = channel.send(request).and_then(|()| channel.receive());
    channel.command(CLOSE, 0);
    reply
}

struct Channel<'p> {
    ports: &'p mut dyn Ports,
    /// In the upper half.
    number: u32,
    cookies: [u32; 2],
}

impl Channel<'_> {
    fn command(&mut self, subcommand: u32, argument: u32) -> Registers {
        self.ports.command(Registers {
            eax: MAGIC,
            ebx: argument,
            ecx: subcommand << 16 | MESSAGE,
            edx: self.number | LOW,
            esi: self.cookies[0],
            edi: self.cookies[1],
            ebp: 0,
        })
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        let len = u32::try_from(request.len()).map_err(|_| broken("a request too long"))?;
        if self.command(SEND_SIZE, len).ecx & SUCCESS == 0 {
            return Err(broken("a request is not accepted"));
        }
        let registers = Registers {
            eax: MAGIC,
            ebx: HIGH_MESSAGE,
            ecx: len,
            edx: self.number | HIGH,
            esi: 0,
            edi: self.cookies[1],
            ebp: self.cookies[0],
        };
        match self.ports.send(registers, request).ebx {
            HIGH_MESSAGE => Ok(()),
            _ => Err(broken("a request is lost")),
        }
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let announced = self.command(RECEIVE_SIZE, 0);
        if announced.ecx & SUCCESS == 0 {
            return Err(broken("no reply"));
        }
        let len = usize::try_from(announced.ebx).unwrap_or(usize::MAX);
        if len > REPLY_MAX {
            return Err(broken("a reply larger than 64 KiB"));
        }
        let mut reply = vec![0; len];
        if len > 0 {
            let registers = Registers {
                eax: MAGIC,
                ebx: HIGH_MESSAGE,
                ecx: announced.ebx,
                edx: self.number | HIGH,
                esi: self.cookies[0],
                edi: 0,
                ebp: self.cookies[1],
            };
            if self.ports.receive(registers, &mut reply).ebx != HIGH_MESSAGE {
                return Err(broken("a reply is lost"));
            }
        }
        self.command(RECEIVE_STATUS, 1);
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A hypervisor that keeps to the protocol, and refuses whoever does not.
    #[derive(Default)]
    struct Hypervisor {
        keys: BTreeMap<String, String>,
        open: bool,
        expected: usize,
        reply: Vec<u8>,
        transcript: Vec<String>,
        /// Announces so many bytes more than there are.
        excess: u32,
        no_channel: bool,
    }

    const COOKIES: [u32; 2] = [0x1111, 0x2222];

    impl Ports for Hypervisor {
        fn command(&mut self, r: Registers) -> Registers {
            assert_eq!((r.eax, r.ecx & 0xffff), (MAGIC, MESSAGE));
            let subcommand = r.ecx >> 16;
            self.transcript.push(format!("{subcommand}:{:x}", r.ebx));
            if subcommand == OPEN {
                assert_eq!((r.ebx, r.edx), (0xc943_5052, 0x5658));
                self.open = true;
                let ecx = if self.no_channel { 0 } else { SUCCESS };
                return Registers { ecx, edx: 7 << 16, esi: COOKIES[0], edi: COOKIES[1], ..r };
            }
            assert!(self.open);
            assert_eq!((r.edx, [r.esi, r.edi]), (7 << 16 | 0x5658, COOKIES));
            match subcommand {
                SEND_SIZE => self.expected = r.ebx as usize,
                RECEIVE_SIZE => {
                    let ebx = u32::try_from(self.reply.len()).unwrap() + self.excess;
                    return Registers { ebx, ecx: SUCCESS, ..r };
                }
                CLOSE => self.open = false,
                _ => {}
            }
            Registers { ecx: SUCCESS, ..r }
        }

        fn send(&mut self, r: Registers, bytes: &[u8]) -> Registers {
            assert_eq!((r.edx, r.ebp, r.edi), (7 << 16 | 0x5659, COOKIES[0], COOKIES[1]));
            assert_eq!((r.ecx as usize, bytes.len()), (self.expected, self.expected));
            let request = String::from_utf8(bytes.to_vec()).unwrap();
            let words: Vec<&str> = request.splitn(3, ' ').collect();
            self.reply = match words[..] {
                ["info-get", key] => match self.keys.get(key) {
                    Some(value) => format!("1 {value}").into_bytes(),
                    None => b"0 No value found".to_vec(),
                },
                ["info-set", key, value] => {
                    self.keys.insert(key.to_owned(), value.to_owned());
                    b"1 ".to_vec()
                }
                _ => b"0 Unknown command".to_vec(),
            };
            Registers { ebx: HIGH_MESSAGE, ..r }
        }

        fn receive(&mut self, r: Registers, buffer: &mut [u8]) -> Registers {
            assert_eq!((r.edx, r.ebp, r.esi), (7 << 16 | 0x5659, COOKIES[1], COOKIES[0]));
            buffer.copy_from_slice(&self.reply);
            Registers { ebx: HIGH_MESSAGE, ..r }
        }
    }

    fn hypervisor() -> Hypervisor {
        let keys = BTreeMap::from([("guestinfo.metadata".to_owned(), "a: 1\nb: 2".to_owned())]);
        Hypervisor { keys, ..Hypervisor::default() }
    }

    #[test]
    fn a_key_is_read_over_a_channel_that_is_closed_again() {
        let mut ports = hypervisor();
        let value = get(&mut ports, "guestinfo.metadata").unwrap();
        assert_eq!(value.as_deref(), Some(&b"a: 1\nb: 2"[..]));
        assert_eq!(ports.transcript, ["0:c9435052", "1:1b", "3:0", "5:1", "6:0"]);
        assert!(!ports.open);
        assert_eq!(get(&mut ports, "guestinfo.userdata").unwrap(), None);
        assert!(!ports.open);
    }

    #[test]
    fn a_key_is_overwritten() {
        let mut ports = hypervisor();
        set(&mut ports, "guestinfo.metadata", "---").unwrap();
        assert_eq!(ports.keys["guestinfo.metadata"], "---");
    }

    #[test]
    fn a_hypervisor_that_breaks_the_protocol_is_refused() {
        let mut ports = Hypervisor { excess: 1 << 20, ..hypervisor() };
        let refusal = get(&mut ports, "guestinfo.metadata").unwrap_err().to_string();
        assert_eq!(refusal, "VMware's guest RPC: a reply larger than 64 KiB");
        assert!(!ports.open);
        let mut ports = Hypervisor { no_channel: true, ..hypervisor() };
        let refusal = get(&mut ports, "guestinfo.metadata").unwrap_err().to_string();
        assert_eq!(refusal, "VMware's guest RPC: no channel");
    }
}
