// SPDX-License-Identifier: Apache-2.0
//! Something with a partition table that is no disk for the kernel, as one: loop(4).
//!
//! The root of a machine that has no disk of its own comes as a file of the initramfs, or on a disc,
//! of which the kernel reads no table. Behind a loop device both have partitions like any disk.

#![expect(unsafe_code, reason = "ioctl has no safe form for the kernel's own structures")]

use std::{
    ffi::c_void,
    fs::{File, OpenOptions},
    os::fd::AsRawFd as _,
};

use rustix::{
    io,
    ioctl::{Ioctl, IoctlOutput, Opcode, ioctl},
};

/// linux/loop.h: `LOOP_CTL_GET_FREE`, `LOOP_CONFIGURE`.
const GET_FREE: Opcode = 0x4c82;
const CONFIGURE: Opcode = 0x4c0a;
/// `sizeof(struct loop_config)`.
const CONFIG: usize = 304;
/// `lo_flags` of the `struct loop_info64` that begins at 8.
const FLAGS_OFFSET: usize = 8 + 52;
const READ_ONLY: u32 = 1;
const PARTITIONS: u32 = 8;

/// Makes a file or a device a read-only disk; its number.
pub(super) fn attach(path: &str) -> std::io::Result<u32> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    let backing = File::open(path)?;
    // SAFETY: the call takes no argument and returns a number.
    let number = unsafe { ioctl(&control, GetFree) }?;
    let device = File::open(format!("/dev/loop{number}"))?;
    let mut config = Config([0; CONFIG]);
    let descriptor = backing.as_raw_fd().cast_unsigned();
    config.0[..4].copy_from_slice(&descriptor.to_ne_bytes());
    config.0[FLAGS_OFFSET..FLAGS_OFFSET + 4]
        .copy_from_slice(&(READ_ONLY | PARTITIONS).to_ne_bytes());
    // SAFETY: the call reads one `struct loop_config`, whose size this buffer has.
    unsafe { ioctl(&device, config) }?;
    Ok(number)
}

struct GetFree;

// SAFETY: the call neither reads nor writes memory of this process.
unsafe impl Ioctl for GetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> io::Result<u32> {
        u32::try_from(out).map_err(|_| io::Errno::RANGE)
    }
}

#[repr(C, align(8))]
struct Config([u8; CONFIG]);

// SAFETY: the call only reads the structure, which lives as long as the call.
unsafe impl Ioctl for Config {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        CONFIGURE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> io::Result<()> {
        Ok(())
    }
}
