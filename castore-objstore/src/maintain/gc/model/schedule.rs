//! The source of decisions: chance, or a list of all possible decisions.

/// Makes decisions.
#[derive(Debug, Clone)]
pub(super) enum Schedule {
    /// At random, from this state (splitmix64).
    Random(u64),
    /// As listed; the first possibility after the end of the list. Every decision is noted, with
    /// the number of possibilities at that point.
    Listed { list: Vec<usize>, made: Vec<(usize, usize)> },
}

impl Schedule {
    pub(super) fn random(seed: u64) -> Schedule {
        Schedule::Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn first() -> Schedule {
        Schedule::Listed { list: Vec::new(), made: Vec::new() }
    }

    /// A number below `count`.
    pub(super) fn choose(&mut self, count: usize) -> usize {
        match self {
            Schedule::Random(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((mixed ^ (mixed >> 31)) % count as u64) as usize
            }
            Schedule::Listed { list, made } => {
                let choice = list.get(made.len()).copied().unwrap_or(0);
                made.push((choice, count));
                choice
            }
        }
    }

    /// True at random, once in `cases`; never for a listed schedule.
    pub(super) fn one_in(&mut self, cases: usize) -> bool {
        matches!(self, Schedule::Random(_)) && self.choose(cases) == 0
    }

    /// The schedule after this one in the order of all schedules. This one must have been followed.
    pub(super) fn next(self) -> Option<Schedule> {
        let Schedule::Listed { mut made, .. } = self else { return None };
        while let Some((choice, count)) = made.pop() {
            if choice + 1 < count {
                let mut list: Vec<usize> = made.iter().map(|(choice, _)| *choice).collect();
                list.push(choice + 1);
                return Some(Schedule::Listed { list, made: Vec::new() });
            }
        }
        None
    }
}
