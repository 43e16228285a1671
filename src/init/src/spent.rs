// SPDX-License-Identifier: Apache-2.0
//! What time went to: the clock on the wall, and this program's share of the processor.
//!
//! The rest of the wall's time belongs to others: to devices that appear or are read, to the
//! drivers that the kernel starts meanwhile, to servers.

use std::{ops::Sub, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// Time on the wall, and of it on the processor for this process, in the kernel included.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) processor: Duration,
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            wall: self.wall.saturating_sub(other.wall),
            processor: self.processor.saturating_sub(other.processor),
        }
    }
}

/// Both clocks at one moment. PID 1's processor time begins with the kernel's own start, so only
/// differences mean something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(Spent);

impl Moment {
    pub(crate) fn now() -> Self {
        let read = |id| Duration::try_from(clock_gettime(id)).unwrap_or_default();
        Self(Spent { wall: read(ClockId::Monotonic), processor: read(ClockId::ProcessCPUTime) })
    }

    pub(crate) fn elapsed(self) -> Spent {
        Self::now().0 - self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_time_on_both_clocks() {
        let begun = Moment::now();
        let mut spent = begun.elapsed();
        while spent.processor < Duration::from_millis(1) {
            assert!(spent.wall < Duration::from_secs(60), "{spent:?}");
            spent = begun.elapsed();
        }
        assert!(spent.wall > Duration::ZERO, "{spent:?}");
    }
}
