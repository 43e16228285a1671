// SPDX-License-Identifier: Apache-2.0
//! The images of `tests/machines`, and machines that boot them as hosts of its cluster.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use kiln::{
    digest::Digest,
    plan::{self, Given, Plan},
    qemu::{Host, Machine, Network, Ready, Spec},
    seed, sys,
};

use super::guest;

/// Time until a role is ready, on a busy host under emulation.
pub(crate) const BOOT: Duration = Duration::from_secs(600);

/// Emulated processors of a machine alone.
pub(crate) const CPUS: u32 = 1;

/// Emulated processors of a machine that has most of its cluster's work. QEMU 7.2 loses a
/// breakpoint of the kernel's own patching now and then when two run at once (`Oops: int3`), which is
/// no fault of an image.
pub(crate) fn cpus_of_busy() -> u32 {
    let host = Host::find().unwrap_or_else(|error| panic!("{error:#}"));
    if host.version < 9 { 1 } else { 2 }
}

/// Who runs machines: tests with one machine side by side, others alone.
static RUNNING: RwLock<()> = RwLock::new(());

/// Held by a test whose machines want all processors, or whose times are looked at.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    RUNNING.write().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test that runs one machine of one processor at a time. The test harness runs as many
/// such tests at once as there are processors.
pub(crate) fn side_by_side() -> RwLockReadGuard<'static, ()> {
    RUNNING.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The workspace of machines that work alone.
pub(crate) fn machines() -> PathBuf {
    repository().join("tests/machines")
}

/// The plan of a role of [`machines`].
pub(crate) fn plan_of(role: &str) -> &'static Plan {
    static PLANS: OnceLock<Vec<Plan>> = OnceLock::new();
    let plans = PLANS.get_or_init(|| {
        let workspace = sys::workspace::load(&machines()).expect("a workspace");
        let given = Given { epoch: 0, init: Digest::of(b"") };
        plan::plan(&workspace, &[], given).unwrap_or_else(|invalid| panic!("{invalid}"))
    });
    plans.iter().find(|plan| plan.profile.role == role).expect("a role of the machines")
}

/// Where `make machines` put its results, or `$KILN_OUT`.
pub(crate) fn out_dir() -> PathBuf {
    let out = std::env::var_os("KILN_OUT").map_or_else(|| "out/machines".into(), PathBuf::from);
    repository().join(out)
}

/// The image of a role in [`out_dir`].
pub(crate) fn image(role: &str) -> PathBuf {
    let name = format!("{}-{role}.raw", plan_of(role).cluster.name);
    let image = out_dir().join(role).join(name);
    assert!(image.is_file(), "there is no image '{}': run `make machines`", image.display());
    image
}

/// A machine for a host of [`machines`], with the host's seed and a way in for tests.
pub(crate) fn spec_for(name: &str, scratch: &Path) -> Spec {
    let cluster = &plan_of("lb").cluster;
    let host = &cluster.hosts[name];
    let medium = scratch.join(format!("{name}.iso"));
    fs::write(&medium, seed::iso(&seed::files(cluster, name).unwrap()).unwrap()).unwrap();
    Spec {
        seed: Some(medium),
        mac: host.mac.clone(),
        network: Network::Isolated,
        credentials: guest::credentials(),
        port: true,
        cpus: CPUS,
        ..Spec::new(&image(&host.role))
    }
}

pub(crate) fn start(spec: &Spec) -> Machine {
    let host = Host::find().unwrap_or_else(|error| panic!("{error:#}"));
    Machine::start(&host, spec).unwrap_or_else(|error| panic!("{error:#}"))
}

/// The ready line, which must be that of the host.
pub(crate) fn wait_ready(machine: &mut Machine, name: &str) -> Ready {
    let ready = machine.wait_ready(BOOT).unwrap_or_else(|error| panic!("'{name}': {error:#}"));
    let cluster = &plan_of("lb").cluster;
    let host = &cluster.hosts[name];
    let boot = ready.boot;
    println!("{name}: ready after {boot} s ({:?})", machine.acceleration);
    let wanted = Ready {
        role: host.role.clone(),
        hostname: name.to_owned(),
        address: host.address.address,
        prefix: host.address.prefix,
        version: cluster.version.clone(),
        boot,
    };
    assert_eq!(ready, wanted);
    ready
}

/// A copy of an image that takes little more space than what is in it.
pub(crate) fn copy_of(image: &Path, folder: &Path) -> PathBuf {
    const BLOCK: usize = 1 << 16;
    let copy = folder.join("disk.raw");
    let mut from = fs::File::open(image).unwrap();
    let mut to = fs::File::create(&copy).unwrap();
    let len = from.metadata().unwrap().len();
    to.set_len(len).unwrap();
    let mut block = vec![0; BLOCK];
    for offset in (0..len).step_by(BLOCK) {
        let part = usize::try_from(len - offset).unwrap_or(BLOCK).min(BLOCK);
        from.read_exact(&mut block[..part]).unwrap();
        if block[..part].iter().any(|&byte| byte != 0) {
            to.seek(SeekFrom::Start(offset)).unwrap();
            to.write_all(&block[..part]).unwrap();
        }
    }
    copy
}
