// SPDX-License-Identifier: Apache-2.0
//! What the builder and kiln-init must agree on: names, paths, GUIDs, command line keys.
//!
//! No dependencies and no code beyond constants: whatever both sides need stands here and
//! nowhere else, so the image and the program that boots it cannot drift apart.
#![no_std]

/// Version of everything in this crate, and of [`path::HANDOFF`]'s JSON. kiln-init refuses another.
pub const HANDOFF_SCHEMA: u32 = 1;

/// Port on which every Kubernetes API server serves, on its own machine's address.
pub const API_PORT: u16 = 6443;

/// Kernel command line keys (`key=value`).
pub mod cmdline {
    /// dm-verity root hash of the root partition, 64 hex digits. systemd reads the same key.
    pub const ROOTHASH: &str = "roothash";
    /// Narrows the metadata sources that the image declares.
    pub const DATASOURCE: &str = "ds";
    /// A network-config document in base64, as with cloud-init.
    pub const NETWORK_CONFIG: &str = "network-config";
    /// Network of the host in the kernel's and dracut's short form; used beside a `ds=nocloud` line.
    pub const IP: &str = "ip";
    /// Where the source `http` asks.
    pub const URL: &str = "kiln.url";
    /// Where first boot tells how it went: `report` is asked below it, as documents are below `kiln.url`.
    pub const REPORT: &str = "kiln.report";
    /// Where `/var` lies, if not on its partition: `ram`, or a rule that means a disk.
    pub const VAR: &str = "kiln.var";
    /// A rule that means the disk on which a live medium installs itself.
    pub const INSTALL: &str = "kiln.install";
    /// What a first boot that was refused does: `hold` (the default), `reboot`, `poweroff`.
    pub const ON_FAILURE: &str = "kiln.on-failure";

    /// The value of the last `key=value` of a command line: who adds a word overrides.
    pub fn value<'a>(command_line: &'a str, key: &str) -> Option<&'a str> {
        let words = command_line.split_ascii_whitespace();
        words.filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')).next_back()
    }
}

/// Paths in the initramfs and in the running root.
pub mod path {
    /// Hand-off from the builder, JSON, in the initramfs.
    pub const HANDOFF: &str = "/kiln/boot.json";
    /// A disk with the root, for machines that have none: netboot appends it to the initramfs.
    pub const RAM_DISK: &str = "/kiln/disk.raw";
    /// Kernel modules of the initramfs: `.ko` or `.ko.xz` files below, and `modules.dep`, `modules.alias`,
    /// `modules.softdep` beside them, in depmod's text formats.
    pub const INITRD_MODULES: &str = "/lib/modules";
    /// Where the real root is mounted before `switch_root`.
    pub const SYSROOT: &str = "/sysroot";
    /// kiln-init inside the real root, for its services.
    pub const INIT_IN_ROOT: &str = "/usr/lib/kiln/kiln-init";
    /// The same hand-off inside the real root.
    pub const HANDOFF_IN_ROOT: &str = "/usr/lib/kiln/boot.json";
    /// First-boot templates in the real root: the template of `/etc/x` is `TEMPLATES/etc/x.j2`.
    /// The initramfs has those that it renders.
    pub const TEMPLATES: &str = "/usr/lib/kiln/templates";
    /// os-release(5), in the real root and in the initramfs.
    pub const OS_RELEASE: &str = "/usr/lib/os-release";
    /// What first boot decided, for the services after `switch_root` (tmpfs, mode 0600).
    pub const INSTANCE: &str = "/run/kiln/instance.json";
    /// The documents that first boot used, for the service that keeps them (tmpfs, mode 0600).
    pub const SEED: &str = "/run/kiln/seed.json";
    /// Remote sources that are still to be asked (tmpfs, mode 0600).
    pub const PENDING: &str = "/run/kiln/pending.json";
    /// Remote sources that are asked whether this host became another instance (tmpfs, mode 0600).
    pub const RECHECK: &str = "/run/kiln/recheck.json";
    /// What first boot did: sources tried, timings (tmpfs, mode 0644).
    pub const FIRST_BOOT: &str = "/run/kiln/first-boot.json";
    /// Upper and work directory of the `/etc` overlay live below (tmpfs).
    pub const ETC_OVERLAY: &str = "/run/kiln/etc";
    /// Says by being there that `/var` is not on the root's disk (tmpfs).
    pub const VAR_ELSEWHERE: &str = "/run/kiln/var-elsewhere";
    /// State that survives reboots: identity and cached metadata, below `/var`.
    pub const STATE: &str = "/var/lib/kiln";
    /// The machine's ssh host keys, below [`STATE`].
    pub const SSH: &str = "/var/lib/kiln/ssh";
    /// File systems that kiln-init mounts for a moment.
    pub const SCRATCH: &str = "/run/kiln/mount";
}

/// Live media: disks that are only read, with the system of a disk on them.
pub mod live {
    /// Where the head of that disk begins on the medium, in bytes.
    pub const HEAD: u64 = 1 << 20;
    /// Bytes of a head: what lies before a disk's first partition.
    pub const HEAD_LEN: u64 = 1 << 20;
}

/// GPT partitions of a disk. Types: Discoverable Partitions Specification.
pub mod partition {
    /// EFI System Partition.
    pub const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    /// Root file system, x86-64. Its partition UUID is the first half of the root hash.
    pub const ROOT: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
    /// Verity hash tree of the root, x86-64. Its partition UUID is the second half of the root hash.
    pub const ROOT_VERITY: &str = "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5";
    /// Linux generic: the `var` partition. The `var` type is not used, because its UUID rule
    /// needs the machine id, which an image for many hosts cannot know.
    pub const LINUX_GENERIC: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
    /// Label of the state partition.
    pub const VAR_LABEL: &str = "var";
    /// Label of a free slot, as systemd-sysupdate spells it.
    pub const EMPTY_LABEL: &str = "_empty";
}

/// Device-mapper name of the opened root. systemd reads `roothash=` too and expects this name.
pub const ROOT_DEVICE: &str = "root";

/// Volume label of NoCloud media; compared without regard to case.
pub const NOCLOUD_LABEL: &str = "CIDATA";

/// Volume label of OpenStack's config drive; compared without regard to case.
pub const CONFIG_DRIVE_LABEL: &str = "config-2";

/// Names of QEMU's fw_cfg items that hold documents begin so.
pub const FW_CFG_PREFIX: &str = "opt/org.kiln/";

/// Every line that kiln-init prints on consoles begins so.
pub const CONSOLE_PREFIX: &str = "kiln: ";
