//! The lists of the cases that each flaw is expected to fail, and a test for each flaw.

use std::collections::BTreeSet;

use crate::flaw::Flaw;

mod damage;
mod failing;
mod giving_up;
mod ranges;
mod reading;
mod sharing;
mod writing;

/// The cases in which a service with a flaw fails: in all of these, and in no other.
#[derive(Debug)]
pub(crate) struct Teeth {
    pub(crate) flaw: Flaw,
    /// Whether the service hangs in these cases, instead of doing something wrong.
    pub(crate) hangs: bool,
    /// The cases that are about this flaw.
    pub(crate) meant: &'static [&'static str],
    /// The cases that meet the flaw on the way to their subject.
    pub(crate) besides: &'static [&'static str],
}

impl Teeth {
    pub(crate) fn cases(&self) -> BTreeSet<&'static str> {
        self.meant.iter().chain(self.besides).copied().collect()
    }
}

/// The lists of all flaws.
pub(crate) fn all() -> impl Iterator<Item = &'static Teeth> {
    let files = [
        writing::TEETH,
        reading::TEETH,
        sharing::TEETH,
        giving_up::TEETH,
        damage::TEETH,
        ranges::TEETH,
        failing::TEETH,
    ];
    files.into_iter().flatten()
}

/// Expands to the lists of a file, as `TEETH`, and to a test of each flaw in it.
macro_rules! teeth {
    ($($test:ident: $flaw:ident $(($hangs:ident))? {
        meant: { $($meant:ident { $($meant_case:ident),+ $(,)? })+ }
        $(besides: { $($besides:ident { $($besides_case:ident),+ $(,)? })+ })?
    })*) => {
        pub(super) const TEETH: &[$crate::expected::Teeth] = &[$($crate::expected::Teeth {
            flaw: $crate::flaw::Flaw::$flaw,
            hangs: {
                let marks: &[&str] = &[$(stringify!($hangs))?];
                !marks.is_empty()
            },
            meant: &[$($(concat!(stringify!($meant), "::", stringify!($meant_case)),)+)+],
            besides: &[
                $($($(concat!(stringify!($besides), "::", stringify!($besides_case)),)+)+)?
            ],
        },)*];

        $(#[test]
        fn $test() {
            $crate::check::check($crate::flaw::Flaw::$flaw);
        })*
    };
}

use teeth;
