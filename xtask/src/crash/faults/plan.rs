//! The plan of a process: the faults that the shim applies to its calls.

use std::fmt::Write as _;

use super::super::files::Random;

/// The classes of calls, one bit each; `shim.c` has the same.
pub(super) mod calls {
    pub(in super::super) const OPEN: u32 = 1;
    pub(in super::super) const CREATE: u32 = 2;
    pub(in super::super) const READ: u32 = 4;
    pub(in super::super) const WRITE: u32 = 8;
    pub(in super::super) const RENAME: u32 = 16;
    pub(in super::super) const LINK: u32 = 32;
    pub(in super::super) const UNLINK: u32 = 64;
    pub(in super::super) const MKDIR: u32 = 128;
    pub(in super::super) const FLUSH: u32 = 256;
    pub(in super::super) const CLOSE: u32 = 512;
    pub(in super::super) const LIST: u32 = 1024;
    pub(in super::super) const STAT: u32 = 2048;
    /// All calls that change the store or make it durable.
    pub(in super::super) const CHANGES: u32 =
        CREATE | WRITE | RENAME | LINK | UNLINK | MKDIR | FLUSH;
    /// All calls that only read.
    pub(in super::super) const LOOKS: u32 = OPEN | READ | LIST | STAT;
    pub(in super::super) const ALL: u32 = CHANGES | LOOKS | CLOSE;
}

const EIO: u32 = 5;
const ENOMEM: u32 = 12;
const EACCES: u32 = 13;
const ENFILE: u32 = 23;
const EMFILE: u32 = 24;
const ENOSPC: u32 = 28;

/// Errors, and the calls that return them. Opening a file for reading fails for lack of a
/// descriptor or of permission, and a write for lack of space.
const ERRORS: [(u32, u32); 6] = [
    (EIO, calls::ALL),
    (
        ENOSPC,
        calls::CREATE | calls::WRITE | calls::MKDIR | calls::LINK | calls::RENAME | calls::FLUSH,
    ),
    (
        EACCES,
        calls::OPEN | calls::CREATE | calls::STAT | calls::RENAME | calls::UNLINK | calls::LINK,
    ),
    (EMFILE, calls::OPEN | calls::CREATE),
    (ENFILE, calls::OPEN | calls::CREATE),
    (ENOMEM, calls::OPEN | calls::LIST | calls::STAT | calls::MKDIR),
];

/// Parts of paths to which a rule may be limited.
const PLACES: [&str; 8] = ["*", "*", "*", "*", "/chunks/", "/blobs/", "/gc/", "#"];

/// More calls than any run makes.
const LASTING: u64 = 1 << 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The call does nothing and fails with this error number.
    Fail(u32),
    /// The call does a part and fails. If a flush fails, the unflushed bytes are lost for good.
    Tear(u32),
    /// The call starts later, by up to this many microseconds.
    Delay(u32),
    /// The process stops before the call.
    Stop,
    /// The process is killed before the call.
    Kill,
    /// Every process ends before its next call, and the store is as a power cut leaves it.
    Cut,
}

/// Applies to `count` calls of these classes whose path contains `place`, from the `first` one on.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    calls: u32,
    place: &'static str,
    first: u64,
    count: u64,
    action: Action,
    seed: u32,
}

/// The faults that the shim applies to the calls of one process.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) rules: Vec<Rule>,
    /// The call at which the wall clock jumps, and the jump in seconds.
    pub(super) jump: Option<(u64, i64)>,
    /// Whether the rules also apply to the store `source`.
    pub(super) mirror: bool,
}

impl Rule {
    pub(super) fn is(&self, action: Action) -> bool {
        self.action == action
    }

    #[cfg(test)]
    pub(super) fn exactly(calls: u32, first: u64, action: Action) -> Rule {
        Rule { calls, place: "*", first, count: 1, action, seed: 0 }
    }

    /// Applies the action before a random call that changes the store, among the first few or all.
    pub(super) fn at_a_change(random: &mut Random, action: Action) -> Rule {
        Rule {
            calls: calls::CHANGES,
            place: "*",
            first: instant(random),
            count: 1,
            action,
            seed: 0,
        }
    }

    /// Applies the action before any call, early or late.
    pub(super) fn anywhere(random: &mut Random, action: Action) -> Rule {
        Rule { calls: calls::ALL, ..Rule::at_a_change(random, action) }
    }

    /// Delays every call of some classes.
    pub(super) fn delays(random: &mut Random) -> Rule {
        let calls = [calls::CHANGES, calls::FLUSH, calls::RENAME | calls::CREATE, calls::LOOKS];
        let calls = calls[random.below(calls.len())];
        let action = Action::Delay([200, 2_000][random.below(2)]);
        let seed = random.below(1 << 20) as u32;
        Rule { calls, place: "*", first: 1, count: LASTING, action, seed }
    }

    /// Lets calls of one kind fail: once, a few times, or from some call on.
    pub(super) fn fails(random: &mut Random) -> Rule {
        let (error, possible) = ERRORS[random.below(ERRORS.len())];
        let bits: Vec<u32> =
            (0..12).map(|bit| 1 << bit).filter(|bit| possible & bit != 0).collect();
        let calls = bits[random.below(bits.len())];
        let tears = matches!(calls, calls::WRITE | calls::CLOSE | calls::FLUSH | calls::READ);
        let action = match tears && random.below(3) > 0 {
            true => Action::Tear(error),
            false => Action::Fail(error),
        };
        // There are few flushes, and the first ones matter most.
        let first = match calls {
            calls::FLUSH => 1 + random.below(8) as u64,
            calls::LIST | calls::LINK | calls::UNLINK | calls::MKDIR => 1 + random.below(20) as u64,
            _ => instant(random),
        };
        let count = [1, 1, 3, LASTING][random.below(4)];
        let place = match calls {
            calls::FLUSH => "*",
            _ => PLACES[random.below(PLACES.len())],
        };
        Rule { calls, place, first, count, action, seed: random.below(1 << 20) as u32 }
    }
}

/// The number of a call. Small numbers are as likely as large ones.
fn instant(random: &mut Random) -> u64 {
    let range = [4, 16, 64, 200][random.below(4)];
    1 + random.below(range) as u64
}

impl Plan {
    pub(super) fn of(rule: Rule) -> Plan {
        Plan { rules: vec![rule], ..Plan::default() }
    }

    /// Whether a call fails for a reason outside of the store: then castore must call nothing
    /// damaged or absent.
    pub(super) fn fails(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.action, Action::Fail(_) | Action::Tear(_)))
    }

    /// The lines that the shim reads.
    pub(super) fn lines(&self) -> String {
        let mut lines = String::new();
        for rule in &self.rules {
            let (action, of) = match rule.action {
                Action::Fail(error) => (1, error),
                Action::Tear(error) => (2, error),
                Action::Delay(micros) => (3, micros),
                Action::Stop => (4, 0),
                Action::Kill => (5, 0),
                Action::Cut => (6, 0),
            };
            let Rule { calls, place, first, count, seed, .. } = rule;
            let _ = writeln!(lines, "rule {calls} {place} {first} {count} {action} {of} {seed}");
        }
        if let Some((call, seconds)) = self.jump {
            let _ = writeln!(lines, "clock {call} {}", seconds * 1_000_000_000);
        }
        lines
    }
}
