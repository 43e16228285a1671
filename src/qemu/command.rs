// SPDX-License-Identifier: Apache-2.0
//! The command line of a virtual machine, as a function of what it shall be.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Acceleration, Host};

/// Everything that QEMU emulates, but for the wide vectors: it runs each of their instructions as
/// a call, and programs that find them take them. Without, SHA-256 is three times and AES-GCM
/// five times as fast.
const EMULATED_CPU: &str = "max,-avx,-avx2,-f16c,-fma";

/// A virtual machine: one disk, one network card, consoles on serial ports.
#[derive(Debug, Clone)]
pub struct Spec {
    pub disk: PathBuf,
    /// Format and fate of the disk.
    pub changes: Changes,
    /// Whether legacy firmware starts it, and not UEFI.
    pub bios: bool,
    /// What the disk is plugged into.
    pub bus: Bus,
    /// What the network card is.
    pub card: Card,
    /// Metadata medium, as a CD.
    pub seed: Option<PathBuf>,
    /// Further disks, read-only.
    pub media: Vec<PathBuf>,
    /// MiB.
    pub memory: u32,
    pub cpus: u32,
    pub network: Network,
    /// Lower case, colons.
    pub mac: Option<String>,
    /// systemd credentials, handed over by SMBIOS: how a test runs something in an image that
    /// knows nothing of tests.
    pub credentials: Vec<(String, Vec<u8>)>,
    /// Words for the end of the kernel's command line. Only UEFI hands them over.
    pub kernel: Vec<String>,
    /// Further arguments of QEMU, as they are.
    pub more: Vec<OsString>,
    /// Whether there is a second serial port, as a unix socket ([`super::Machine::port`]).
    pub port: bool,
}

/// What becomes of the guest's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// The disk is a raw image and stays as it is.
    Drop,
    /// The disk is read by this driver of QEMU and stays as it is.
    DropFrom(&'static str),
    /// The disk is a qcow2 file that takes them.
    Keep,
    /// The disk is a raw image that takes them.
    KeepRaw,
}

/// What a disk is plugged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    Virtio,
    Nvme,
    Ahci,
    /// VMware's paravirtual SCSI adapter.
    Pvscsi,
    /// LSI's SAS adapter 1068, as old servers and VMware have it.
    LsiSas,
    /// Broadcom's RAID adapters, as many servers have them.
    Megaraid,
    /// A stick.
    Usb,
    /// A disc in a drive, by AHCI.
    Optical,
}

impl Bus {
    /// Devices for the drive `disk`.
    const fn devices(self) -> &'static str {
        match self {
            Self::Virtio => "-device virtio-blk-pci,drive=disk,bootindex=1",
            Self::Nvme => "-device nvme,drive=disk,serial=disk,bootindex=1",
            Self::Ahci => "-device ide-hd,bus=ide.0,drive=disk,bootindex=1",
            Self::Pvscsi => {
                "-device pvscsi,id=scsi -device scsi-hd,bus=scsi.0,drive=disk,bootindex=1"
            }
            // Linux sees no disk there that has no world wide name.
            Self::LsiSas => {
                "-device mptsas1068,id=scsi \
                 -device scsi-hd,bus=scsi.0,drive=disk,wwn=0x5000c50000000001,bootindex=1"
            }
            Self::Megaraid => {
                "-device megasas-gen2,id=scsi -device scsi-hd,bus=scsi.0,drive=disk,bootindex=1"
            }
            Self::Usb => "-device qemu-xhci -device usb-storage,drive=disk,bootindex=1",
            Self::Optical => "-device ide-cd,bus=ide.0,drive=disk,bootindex=1",
        }
    }
}

/// A model of network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Card {
    Virtio,
    /// Intel's, as many servers have it.
    E1000e,
    /// VMware's.
    Vmxnet3,
}

impl Card {
    const fn device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci",
            Self::E1000e => "e1000e",
            Self::Vmxnet3 => "vmxnet3",
        }
    }
}

/// What the network card is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// A network with nobody else on it.
    Isolated,
    /// QEMU's own network, as wide as `net`; `gateway` leads outside.
    User { net: String, gateway: Option<String> },
    /// A cable to another machine: one end listens on the socket, the other connects.
    Cable { socket: PathBuf, listen: bool },
    /// What follows `-netdev`, with `id=net` in it.
    Other(String),
}

impl Spec {
    pub fn new(disk: &Path) -> Spec {
        Spec {
            disk: disk.to_owned(),
            changes: Changes::Drop,
            bios: false,
            bus: Bus::Virtio,
            card: Card::Virtio,
            seed: None,
            media: Vec::new(),
            memory: 1024,
            cpus: 2,
            network: Network::Isolated,
            mac: None,
            credentials: Vec::new(),
            kernel: Vec::new(),
            more: Vec::new(),
            port: false,
        }
    }
}

/// Files of one machine's life, in its scratch folder.
#[derive(Debug)]
pub(super) struct Scratch<'a> {
    pub(super) vars: &'a Path,
    /// SMBIOS strings, one file each.
    pub(super) smbios: &'a [PathBuf],
    pub(super) port: &'a Path,
}

/// SMBIOS type 11 strings that the machine needs.
pub(super) fn smbios_strings(host: &Host, acceleration: Acceleration, spec: &Spec) -> Vec<String> {
    let mut kernel = spec.kernel.clone();
    // On a busy host the emulated timer may stand still while the kernel looks whether it works,
    // and the kernel panics. Guests of KVM leave the check out by themselves.
    if acceleration == Acceleration::Tcg {
        kernel.push("no_timer_check".to_owned());
    }
    // QEMU before 9 emulates cmpxchg16b wrongly: the kernel dies in a double fault after some
    // seconds. The kernel is told not to use it; taking it from the CPU would kill programs
    // that expect it.
    if acceleration == Acceleration::Tcg && host.version < 9 {
        kernel.push("clearcpuid=cx16".to_owned());
    }
    let mut strings = Vec::new();
    if !kernel.is_empty() {
        // systemd's stub reads this without Secure Boot only.
        strings.push(format!("io.systemd.stub.kernel-cmdline-extra={}", kernel.join(" ")));
    }
    for (name, value) in &spec.credentials {
        strings.push(format!("io.systemd.credential.binary:{name}={}", STANDARD.encode(value)));
    }
    strings
}

/// Arguments of QEMU.
pub(super) fn arguments(
    host: &Host,
    acceleration: Acceleration,
    spec: &Spec,
    scratch: &Scratch<'_>,
) -> Vec<OsString> {
    let mut args = Arguments::default();
    args.words("-no-user-config -nodefaults -display none -no-reboot -machine q35");
    match acceleration {
        Acceleration::Kvm => args.words("-accel kvm -cpu host"),
        Acceleration::Tcg => args.words(&format!("-accel tcg,thread=multi -cpu {EMULATED_CPU}")),
    }
    args.words(&format!("-smp {} -m {}", spec.cpus, spec.memory));
    // QEMU's own firmware is SeaBIOS.
    if !spec.bios {
        args.file("-drive", "if=pflash,format=raw,unit=0,readonly=on,file=", &host.firmware.code);
        args.file("-drive", "if=pflash,format=raw,unit=1,file=", scratch.vars);
    }
    let (format, fate) = match spec.changes {
        Changes::Drop => ("raw", "snapshot=on"),
        Changes::DropFrom(driver) => (driver, "snapshot=on"),
        Changes::Keep => ("qcow2", "discard=unmap"),
        Changes::KeepRaw => ("raw", "discard=unmap"),
    };
    let medium = if spec.bus == Bus::Optical { "media=cdrom,readonly=on" } else { fate };
    args.file("-drive", &format!("if=none,id=disk,format={format},{medium},file="), &spec.disk);
    args.words(spec.bus.devices());
    if let Some(seed) = &spec.seed {
        args.file("-drive", "if=none,id=seed,format=raw,readonly=on,media=cdrom,file=", seed);
        args.words("-device ide-cd,bus=ide.1,drive=seed");
    }
    for (number, medium) in spec.media.iter().enumerate() {
        let drive = format!("if=none,id=medium{number},format=raw,readonly=on,file=");
        args.file("-drive", &drive, medium);
        args.words(&format!("-device virtio-blk-pci,drive=medium{number},serial=medium{number}"));
    }
    match &spec.network {
        Network::Isolated => args.words("-netdev user,id=net,restrict=on"),
        Network::User { net, gateway } => {
            let gateway = gateway.as_ref().map(|gateway| format!(",host={gateway}"));
            args.words(&format!("-netdev user,id=net,net={net}{}", gateway.unwrap_or_default()));
        }
        Network::Cable { socket, listen } => {
            let server = if *listen { "on" } else { "off" };
            let cable = format!("stream,id=net,server={server},addr.type=unix,addr.path=");
            args.file("-netdev", &cable, socket);
        }
        Network::Other(netdev) => args.0.extend(["-netdev".into(), netdev.into()]),
    }
    let mac = spec.mac.as_ref().map(|mac| format!(",mac={mac}")).unwrap_or_default();
    let card = spec.card.device();
    args.words(&format!("-device {card},netdev=net,romfile={mac} -device virtio-rng-pci"));
    for file in scratch.smbios {
        args.file("-smbios", "type=11,path=", file);
    }
    args.words("-chardev stdio,id=console,signal=off -serial chardev:console");
    if spec.port {
        args.file("-chardev", "socket,id=port,server=on,wait=off,path=", scratch.port);
        args.words("-serial chardev:port");
    }
    args.0.extend(spec.more.iter().cloned());
    args.0
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    /// Arguments without blanks, separated by blanks.
    fn words(&mut self, words: &str) {
        self.0.extend(words.split(' ').map(OsString::from));
    }

    /// An option whose last key is a file.
    fn file(&mut self, option: &str, keys: &str, file: &Path) {
        use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
        self.0.push(option.into());
        let mut value = keys.as_bytes().to_vec();
        for &byte in file.as_os_str().as_bytes() {
            // QEMU separates keys by commas; two are one in a value.
            value.extend_from_slice(if byte == b',' { b",," } else { std::slice::from_ref(&byte) });
        }
        self.0.push(OsString::from_vec(value));
    }
}

/// A command line as a person would type it.
pub(super) fn shown(program: &Path, arguments: &[OsString]) -> String {
    std::iter::once(program.as_os_str())
        .chain(arguments.iter().map(OsString::as_os_str))
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::Firmware;

    fn host(version: u32) -> Host {
        let firmware = Firmware { code: "/fw/code".into(), vars: "/fw/vars".into() };
        Host { qemu: "/bin/qemu".into(), version, firmware }
    }

    fn line(spec: &Spec, acceleration: Acceleration) -> String {
        let smbios = ["/s/smbios-0".into()];
        let scratch =
            Scratch { vars: Path::new("/s/vars"), smbios: &smbios, port: Path::new("/s/p") };
        shown(Path::new("qemu"), &arguments(&host(7), acceleration, spec, &scratch))
    }

    #[test]
    fn an_image_is_never_written_to_by_default() {
        let line = line(&Spec::new(Path::new("/out/a.raw")), Acceleration::Tcg);
        assert!(line.contains("format=raw,snapshot=on,file=/out/a.raw"), "{line}");
        assert!(line.contains("-netdev user,id=net,restrict=on"), "{line}");
        assert!(line.contains("-accel tcg,thread=multi -cpu max,-avx,"), "{line}");
        assert!(!line.contains("chardev:port"), "{line}");
    }

    #[test]
    fn a_comma_in_a_path_is_doubled() {
        let line = line(&Spec::new(Path::new("/a,b/c.raw")), Acceleration::Kvm);
        assert!(line.contains("file=/a,,b/c.raw"), "{line}");
        assert!(line.contains("-accel kvm -cpu host"), "{line}");
    }

    #[test]
    fn a_machine_has_what_its_spec_names() {
        let spec = Spec {
            changes: Changes::Keep,
            seed: Some("/seed.iso".into()),
            media: vec!["/m.img".into()],
            network: Network::User { net: "10.1.0.0/24".into(), gateway: Some("10.1.0.1".into()) },
            mac: Some("52:54:00:31:01:78".into()),
            port: true,
            ..Spec::new(Path::new("/d.qcow2"))
        };
        let line = line(&spec, Acceleration::Tcg);
        for part in [
            "format=qcow2,discard=unmap,file=/d.qcow2",
            "media=cdrom,file=/seed.iso",
            "id=medium0,format=raw,readonly=on,file=/m.img",
            "net=10.1.0.0/24,host=10.1.0.1",
            "mac=52:54:00:31:01:78",
            "type=11,path=/s/smbios-0",
            "path=/s/p -serial chardev:port",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn legacy_firmware_is_what_qemu_has_without_another() {
        let spec = Spec::new(Path::new("/d"));
        assert!(line(&spec, Acceleration::Tcg).contains("file=/fw/code"));
        let spec = Spec { bios: true, bus: Bus::LsiSas, ..spec };
        let line = line(&spec, Acceleration::Tcg);
        assert!(!line.contains("pflash"), "{line}");
        assert!(line.contains("-device mptsas1068,id=scsi -device scsi-hd"), "{line}");
    }

    #[test]
    fn words_for_the_kernel_are_one_string() {
        let kernel = vec!["ds=nocloud;h=a".to_owned(), "b".to_owned()];
        let spec = Spec { kernel, ..Spec::new(Path::new("/d")) };
        let extra = "io.systemd.stub.kernel-cmdline-extra=ds=nocloud;h=a b";
        assert_eq!(smbios_strings(&host(9), Acceleration::Kvm, &spec), [extra]);
        assert_eq!(
            smbios_strings(&host(7), Acceleration::Tcg, &spec),
            [format!("{extra} no_timer_check clearcpuid=cx16")]
        );
    }

    #[test]
    fn only_emulation_gets_work_arounds() {
        let mut spec = Spec::new(Path::new("/d"));
        spec.credentials.push(("a.b".into(), b"hi".to_vec()));
        let credential = "io.systemd.credential.binary:a.b=aGk=";
        assert_eq!(smbios_strings(&host(9), Acceleration::Kvm, &spec), [credential]);
        assert_eq!(smbios_strings(&host(7), Acceleration::Kvm, &spec), [credential]);
        let extra = |version| smbios_strings(&host(version), Acceleration::Tcg, &spec)[0].clone();
        let begin = "io.systemd.stub.kernel-cmdline-extra=no_timer_check";
        assert_eq!((extra(9), extra(7)), (begin.to_owned(), format!("{begin} clearcpuid=cx16")));
    }
}
