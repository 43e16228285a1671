// SPDX-License-Identifier: Apache-2.0
//! The three device-mapper calls that open a device: create, load a table, resume.
//!
//! linux/dm-ioctl.h: every call takes one `struct dm_ioctl` of 312 bytes, followed by targets.

#![expect(unsafe_code, reason = "ioctl has no safe form for the kernel's own structures")]

use std::fs::OpenOptions;

use rustix::{
    io::Errno,
    ioctl::{Opcode, Updater, ioctl, opcode},
};

/// `sizeof(struct dm_ioctl)`; part of each call's number.
const HEADER: usize = 312;
const TARGET: usize = 40;
/// Header, one target and its parameters.
const BUFFER: usize = 2048;
/// `DM_IOCTL`
const GROUP: u8 = 0xfd;
const CREATE: Opcode = opcode::read_write::<[u8; HEADER]>(GROUP, 3);
const SUSPEND: Opcode = opcode::read_write::<[u8; HEADER]>(GROUP, 6);
const LOAD: Opcode = opcode::read_write::<[u8; HEADER]>(GROUP, 9);
const READ_ONLY: u32 = 1;
const NAME_OFFSET: usize = 48;
const NAME_MAX: usize = 127;
const UUID_OFFSET: usize = 176;
const UUID_MAX: usize = 128;

/// A buffer that both sides of a call use.
#[repr(C, align(8))]
struct Call([u8; BUFFER]);

/// Opens a read-only device of one target; its minor number.
pub(super) fn create(
    name: &str,
    uuid: &str,
    kind: &str,
    sectors: u64,
    parameters: &str,
) -> std::io::Result<u32> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/mapper/control")?;
    let mut call = Call::new(name, Some(uuid))?;
    run::<CREATE>(&control, &mut call)?;
    let minor = call.minor();
    let mut call = Call::new(name, None)?;
    call.set_target(kind, sectors, parameters)?;
    run::<LOAD>(&control, &mut call)?;
    // Suspend without the suspend flag is resume.
    run::<SUSPEND>(&control, &mut Call::new(name, None)?)?;
    Ok(minor)
}

fn run<const OPCODE: Opcode>(control: &std::fs::File, call: &mut Call) -> Result<(), Errno> {
    // SAFETY: the opcode is one of DM's, all of which take a `struct dm_ioctl` and no more bytes
    // than its `data_size` says, which Call::new sets to the size of this buffer.
    unsafe { ioctl(control, Updater::<OPCODE, Call>::new(call)) }
}

impl Call {
    fn new(name: &str, uuid: Option<&str>) -> Result<Self, Errno> {
        let mut call = Self([0; BUFFER]);
        // Version 4.0.0 of the interface, which every kernel since 2.6 takes.
        call.u32(0, 4);
        call.u32(12, u32::try_from(BUFFER).unwrap_or(0));
        call.u32(16, u32::try_from(HEADER).unwrap_or(0));
        call.text(NAME_OFFSET, NAME_MAX, name)?;
        call.text(UUID_OFFSET, UUID_MAX, uuid.unwrap_or(""))?;
        Ok(call)
    }

    fn set_target(&mut self, kind: &str, sectors: u64, parameters: &str) -> Result<(), Errno> {
        // target_count, flags
        self.u32(20, 1);
        self.u32(28, READ_ONLY);
        // struct dm_target_spec: sector_start, length, status, next, target_type
        self.0[HEADER + 8..HEADER + 16].copy_from_slice(&sectors.to_ne_bytes());
        self.text(HEADER + 24, 15, kind)?;
        let start = HEADER + TARGET;
        self.text(start, BUFFER - start - 1, parameters)
    }

    /// Of the device number in the reply, which is in the kernel's "huge" encoding.
    fn minor(&self) -> u32 {
        let device = u32::from_ne_bytes([self.0[40], self.0[41], self.0[42], self.0[43]]);
        device & 0xff | device >> 12 & 0xf_ff00
    }

    fn u32(&mut self, offset: usize, value: u32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }

    /// Writes a text that is followed by a NUL.
    fn text(&mut self, offset: usize, max: usize, text: &str) -> Result<(), Errno> {
        if text.len() > max {
            return Err(Errno::NAMETOOLONG);
        }
        self.0[offset..offset + text.len()].copy_from_slice(text.as_bytes());
        Ok(())
    }
}
