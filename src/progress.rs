// SPDX-License-Identifier: Apache-2.0
//! What people see while they wait, on stderr: bars on a terminal, else about one line a second.
//!
//! Stages get a [`Progress`] and never print themselves; results go to stdout, by `cmd`.
#![expect(clippy::disallowed_methods, reason = "speed is measured for people only")]

use std::{
    io::{IsTerminal as _, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::units::Bytes;

/// A task's bar, in indicatif's template language.
const TASK: &str = "{msg} [{bar:30}] {binary_bytes} of {binary_total_bytes}, \
                    {binary_bytes_per_sec}, {eta}";
/// The bar of one part of it.
const ITEM: &str = "  {wide_msg} [{bar:20}] {binary_total_bytes:>11}";

/// Time between two lines of one task.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Where progress is shown. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Progress(Mode);

#[derive(Debug, Clone)]
enum Mode {
    Quiet,
    Lines,
    Bars(MultiProgress),
}

impl Progress {
    /// Bars if stderr is a terminal, lines if not, nothing if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Self(match quiet {
            true => Mode::Quiet,
            false if std::io::stderr().is_terminal() => Mode::Bars(MultiProgress::new()),
            false => Mode::Lines,
        })
    }

    /// Shows nothing.
    pub fn quiet() -> Self {
        Self(Mode::Quiet)
    }

    /// One line that stays.
    pub fn say(&self, line: impl AsRef<str>) {
        let print = || {
            // Nobody is left to tell if stderr is gone.
            let _ = writeln!(std::io::stderr(), "{}", line.as_ref());
        };
        match &self.0 {
            Mode::Quiet => {}
            Mode::Lines => print(),
            Mode::Bars(bars) => bars.suspend(print),
        }
    }

    /// Work of `total` bytes. `doing` and `done` name it: "fetching 12 packages", "fetched ...".
    pub fn bytes(&self, doing: impl Into<String>, done: impl Into<String>, total: Bytes) -> Task {
        let bar = match &self.0 {
            Mode::Bars(bars) => {
                let bar = ProgressBar::new(total.get()).with_style(style(TASK));
                Some(bars.add(bar.with_message(doing.into()).with_finish(CLEAR)))
            }
            Mode::Lines => Some(ProgressBar::hidden().with_message(doing.into())),
            Mode::Quiet => None,
        };
        let started = Instant::now();
        Task(Arc::new(Inner {
            progress: self.clone(),
            bar,
            done_text: done.into(),
            total,
            done: AtomicU64::new(0),
            worked: AtomicBool::new(false),
            started,
            next_line: Mutex::new(started + LINE_EVERY),
        }))
    }
}

const CLEAR: indicatif::ProgressFinish = indicatif::ProgressFinish::AndClear;

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a fixed template").progress_chars("=> ")
}

/// Work that is under way; shared by the threads that do it.
#[derive(Debug, Clone)]
pub struct Task(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    progress: Progress,
    bar: Option<ProgressBar>,
    done_text: String,
    total: Bytes,
    done: AtomicU64,
    /// Whether anything took time; if not, there is nothing to tell.
    worked: AtomicBool,
    started: Instant,
    next_line: Mutex<Instant>,
}

impl Task {
    /// Counts bytes that were there already.
    pub fn skip(&self, bytes: u64) {
        self.0.add(bytes);
    }

    /// One part of the work, with a bar of its own.
    pub fn item(&self, name: &str, size: u64) -> Item {
        self.0.worked.store(true, Relaxed);
        let bar = match &self.0.progress.0 {
            Mode::Bars(bars) => {
                let bar = ProgressBar::new(size).with_style(style(ITEM));
                Some(bars.add(bar.with_message(name.to_owned()).with_finish(CLEAR)))
            }
            Mode::Lines | Mode::Quiet => None,
        };
        Item { task: self.clone(), bar, at: 0 }
    }

    /// Ends the work with one line, if there was any.
    pub fn finish(self) {
        let Inner { progress, bar, done_text, done, worked, started, .. } = &*self.0;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        if worked.load(Relaxed) {
            let seconds = started.elapsed().as_secs_f64();
            progress.say(format!("{done_text}, {} in {seconds:.1} s", Bytes(done.load(Relaxed))));
        }
    }
}

impl Inner {
    fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
        if matches!(self.progress.0, Mode::Lines) && self.worked.load(Relaxed) {
            self.line(done);
        }
    }

    fn line(&self, done: u64) {
        let now = Instant::now();
        let mut next = self.next_line.lock().unwrap_or_else(PoisonError::into_inner);
        if now < *next {
            return;
        }
        *next = now + LINE_EVERY;
        drop(next);
        let doing = self.bar.as_ref().map(ProgressBar::message).unwrap_or_default();
        self.progress.say(format!("{doing}: {} of {}", Bytes(done), self.total));
    }
}

/// One part of a [`Task`]. Its bar vanishes with it.
#[derive(Debug)]
pub struct Item {
    task: Task,
    bar: Option<ProgressBar>,
    at: u64,
}

impl Item {
    /// Moves to `position`; back to the beginning if the part is begun again.
    pub fn at(&mut self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        }
        match position.checked_sub(self.at) {
            Some(more) => self.task.0.add(more),
            None => drop(self.task.0.done.fetch_sub(self.at - position, Relaxed)),
        }
        self.at = position;
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_begun_again_is_counted_once() {
        let task = Progress::quiet().bytes("fetching", "fetched", Bytes(30));
        task.skip(10);
        let mut item = task.item("a", 20);
        item.at(15);
        item.at(0);
        item.at(20);
        assert_eq!(task.0.done.load(Relaxed), 30);
    }
}
