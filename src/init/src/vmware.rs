// SPDX-License-Identifier: Apache-2.0
//! The hypervisor's ports on VMware, which any program may use there.
#![expect(unsafe_code, reason = "the ports are reached by instructions that no library has")]

use std::{arch::asm, arch::x86_64::__cpuid, io};

use kiln_init::rpc::{self, Ports, Registers};

/// Leaf with the hypervisor's name, if bit 31 of `ecx` of leaf 1 says that there is one.
const HYPERVISOR_LEAF: u32 = 0x4000_0000;
const HYPERVISOR: u32 = 1 << 31;
const NAME: [u8; 12] = *b"VMwareVMware";

/// The value of a guestinfo key; none elsewhere than on VMware.
pub(crate) fn get(key: &str) -> io::Result<Option<Vec<u8>>> {
    if is_vmware() { rpc::get(&mut Backdoor, key) } else { Ok(None) }
}

/// Overwrites guestinfo keys; nothing elsewhere than on VMware.
pub(crate) fn wipe(keys: &[&str]) -> io::Result<()> {
    if !is_vmware() {
        return Ok(());
    }
    for key in keys {
        if rpc::get(&mut Backdoor, key)?.is_some() {
            rpc::set(&mut Backdoor, key, kiln_init::source::guestinfo::WIPED)?;
            rpc::set(&mut Backdoor, &format!("{key}.encoding"), " ")?;
        }
    }
    Ok(())
}

/// Asked before the ports are: elsewhere the instruction ends the program.
fn is_vmware() -> bool {
    if __cpuid(1).ecx & HYPERVISOR == 0 {
        return false;
    }
    let leaf = __cpuid(HYPERVISOR_LEAF);
    let name = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes);
    name.as_flattened() == NAME
}

/// `rbx` and `rbp` are the compiler's own, so they are exchanged with `r8` and `r9`.
struct Backdoor;

impl Ports for Backdoor {
    fn command(&mut self, mut r: Registers) -> Registers {
        let (mut rbx, mut rsi, mut rdi) = (u64::from(r.ebx), u64::from(r.esi), u64::from(r.edi));
        // SAFETY: on VMware, which was asked before, the hypervisor answers in these registers
        // and touches no memory.
        unsafe {
            asm!(
                "xchg rbx, r8",
                "in eax, dx",
                "xchg rbx, r8",
                inout("r8") rbx,
                inout("eax") r.eax,
                inout("ecx") r.ecx,
                inout("edx") r.edx,
                inout("rsi") rsi,
                inout("rdi") rdi,
                options(nostack, nomem),
            );
        }
        (r.ebx, r.esi, r.edi) = (rbx as u32, rsi as u32, rdi as u32);
        r
    }

    fn send(&mut self, mut r: Registers, bytes: &[u8]) -> Registers {
        let mut rbx = u64::from(r.ebx);
        // SAFETY: as for `command`; the instruction reads `ecx` bytes from `rsi`, which are those
        // of `bytes`, because the caller announced their number.
        unsafe {
            asm!(
                "xchg rbx, r8",
                "xchg rbp, r9",
                "cld",
                "rep outsb",
                "xchg rbp, r9",
                "xchg rbx, r8",
                inout("r8") rbx,
                inout("r9") u64::from(r.ebp) => _,
                inout("eax") r.eax,
                inout("rcx") bytes.len() as u64 => _,
                inout("edx") r.edx,
                inout("rsi") bytes.as_ptr() => _,
                inout("rdi") u64::from(r.edi) => _,
                options(nostack, readonly),
            );
        }
        r.ebx = rbx as u32;
        r
    }

    fn receive(&mut self, mut r: Registers, buffer: &mut [u8]) -> Registers {
        let mut rbx = u64::from(r.ebx);
        // SAFETY: as for `command`; the instruction writes `ecx` bytes to `rdi`, which is all of
        // `buffer`.
        unsafe {
            asm!(
                "xchg rbx, r8",
                "xchg rbp, r9",
                "cld",
                "rep insb",
                "xchg rbp, r9",
                "xchg rbx, r8",
                inout("r8") rbx,
                inout("r9") u64::from(r.ebp) => _,
                inout("eax") r.eax,
                inout("rcx") buffer.len() as u64 => _,
                inout("edx") r.edx,
                inout("rsi") u64::from(r.esi) => _,
                inout("rdi") buffer.as_mut_ptr() => _,
                options(nostack),
            );
        }
        r.ebx = rbx as u32;
        r
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn elsewhere_there_are_no_keys() {
        assert!(!super::is_vmware(), "this test is not for VMware");
        assert_eq!(super::get("guestinfo.metadata").unwrap(), None);
        super::wipe(&["guestinfo.metadata"]).unwrap();
    }
}
