// SPDX-License-Identifier: Apache-2.0
//! Power cuts during the first boot: QEMU is killed at random moments, and the next boot must come
//! up as one host, the same one if it had been anybody.
//!
//! About half an hour: `make test-power-cut`. `KILN_CUTS` is the number of moments,
//! `KILN_SEED` the numbers' seed, which every run prints.

use std::{
    num::NonZero,
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kiln::qemu::{Changes, Machine, Spec};

use crate::support::{
    disk_tools::tool,
    guest::{Checks, Guest},
    qemu::{BOOT, alone, copy_of, spec_for, start, wait_ready},
};

const NAME: &str = "k8s-lb-primary";

#[test]
fn a_power_cut_at_any_moment_of_the_first_boot_leaves_one_identity() {
    let _alone = alone();
    let n_cuts = number("KILN_CUTS").unwrap_or(30);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut random = Random(number("KILN_SEED").unwrap_or(now).max(1));
    println!("KILN_SEED={}", random.0);
    let cuts: Vec<(u64, f64)> = (1..=n_cuts).map(|cut| (cut, random.fraction())).collect();
    // As many machines at once as there are processors.
    let n_at_once = thread::available_parallelism().map_or(1, NonZero::get);
    let checked: Vec<Checks<'_>> = thread::scope(|scope| {
        let share = |first| cuts.iter().copied().skip(first).step_by(n_at_once);
        let running: Vec<_> =
            (0..n_at_once).map(|first| scope.spawn(move || check_cuts(share(first)))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    checked.into_iter().for_each(Checks::finish);
}

/// Cuts with their moments, as shares of the time that a whole first boot takes beside the others.
fn check_cuts(cuts: impl Iterator<Item = (u64, f64)>) -> Checks<'static> {
    let scratch = tempfile::tempdir().unwrap();
    let spec = Spec { memory: 512, ..spec_for(NAME, scratch.path()) };
    let whole = {
        let mut machine = start(&spec);
        wait_ready(&mut machine, NAME);
        machine.age()
    };
    let mut checks = Checks::new("power cut");
    for (cut, share) in cuts {
        let folder = tempfile::tempdir().unwrap();
        let disk = copy_of(&spec.disk, folder.path());
        let spec = Spec { disk, changes: Changes::KeepRaw, ..spec.clone() };
        // From the firmware to shortly after readiness, when the last write-backs are under way.
        let moment = whole.mul_f64(0.1 + share);
        let (said, kept) = cut_after(moment, &spec);
        println!("cut {cut} after {:.1} s, at: {said}", moment.as_secs_f64());
        check_next_boot(&mut checks, &spec, kept.as_deref(), &format!("cut {cut} at '{said}'"));
    }
    checks
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is '{text}': write a number")))
}

/// Boots, and cuts the power; what the console said last, and the machine id that was kept.
fn cut_after(moment: Duration, spec: &Spec) -> (String, Option<String>) {
    let mut machine = start(spec);
    // No line has this, so the wait ends with the moment.
    let left = moment.saturating_sub(machine.age());
    let outcome = machine.wait_for("\u{0}", left).expect_err("a moment, not a line");
    assert!(format!("{outcome:#}").contains("not within"), "{outcome:#}");
    let said = machine.console().iter().rev().find(|line| line.contains("kiln: "));
    let said = said.or_else(|| machine.console().last()).cloned().unwrap_or_default();
    drop(machine);
    (said.trim().to_owned(), kept_id(&spec.disk))
}

/// The machine id in the state partition, as debugfs reads it without the journal.
fn kept_id(disk: &Path) -> Option<String> {
    let offset = var_offset(disk)?;
    let place = format!("{}?offset={offset}", disk.display());
    let command: &str = "cat /lib/kiln/machine-id";
    let found =
        tool("sh", &[&"-c", &"debugfs -R \"$0\" \"$1\" 2>/dev/null || :", &command, &place]);
    Some(found.trim().to_owned()).filter(|id| id.len() == 32)
}

/// Byte at which the partition `var` begins, once it is there.
fn var_offset(disk: &Path) -> Option<u64> {
    // The table may be torn; what sfdisk then says is no partition.
    let script = "sfdisk --dump \"$0\" 2>/dev/null || :";
    let table = tool("sh", &[&"-c", &script, &disk]);
    let line = table.lines().find(|line| line.contains("name=\"var\""))?;
    let start = line.split("start=").nth(1)?.split(',').next()?.trim();
    Some(start.parse::<u64>().ok()? * 512)
}

fn check_next_boot(checks: &mut Checks<'_>, spec: &Spec, kept: Option<&str>, what: &str) {
    let mut machine = start(spec);
    let ready = machine.wait_ready(BOOT);
    let came_up = ready.as_ref().is_ok_and(|ready| ready.hostname == NAME);
    checks.that(&format!("{what}: the next boot is ready"), came_up, &ready);
    if !came_up {
        return;
    }
    let mut guest = Guest::of(&machine);
    let id = guest.run("cat /etc/machine-id").text;
    let of_state = "cat /var/lib/kiln/machine-id";
    checks.prints(&format!("{what}: the kept machine id is the host's"), &mut guest, of_state, &id);
    checks.that(
        &format!("{what}: what was kept before counts"),
        kept.is_none_or(|kept| kept == id),
        &(kept, &id),
    );
    let failed = "systemctl list-units --failed --plain --no-legend";
    checks.prints(&format!("{what}: no unit failed"), &mut guest, failed, "");
    let left = "ls -A /var/lib/kiln";
    let names = "machine-id\nseed.json";
    checks.prints(&format!("{what}: nothing half-written is left"), &mut guest, left, names);
    power_off(&mut machine, &mut guest);
    let place = format!("{}?offset={}", spec.disk.display(), var_offset(&spec.disk).unwrap());
    tool("e2fsck", &[&"-fn", &place]);
    tool("sgdisk", &[&"--verify", &spec.disk]);
}

fn power_off(machine: &mut Machine, guest: &mut Guest) {
    guest.run("systemctl poweroff --no-block");
    machine.wait_end(Duration::from_secs(180)).unwrap_or_else(|error| panic!("{error:#}"));
}

/// xorshift64*: moments need no better.
struct Random(u64);

impl Random {
    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        f64::from(u32::try_from(bits).unwrap()) / f64::from(u32::MAX)
    }
}
