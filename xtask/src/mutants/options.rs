//! The arguments of `cargo xtask mutants`.

use anyhow::{Context as _, Result, bail};

/// How many mutants a sample has.
const SAMPLE: usize = 200;

/// Code that is mutated by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// castore-core and castore-proto.
    Core,
    Objstore,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Only this part.
    pub(super) part: Option<Part>,
    pub(super) sample: usize,
    pub(super) seed: u64,
}

impl Options {
    pub(super) fn parse(arguments: &[&str]) -> Result<Options> {
        let mut options = Options { part: None, sample: SAMPLE, seed: 1 };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut number = || -> Result<u64> {
                let value = rest.next().with_context(|| format!("{argument} needs a number"))?;
                value.parse().with_context(|| format!("{argument} needs a number, not {value}"))
            };
            match *argument {
                "core" => options.part = Some(Part::Core),
                "objstore" => options.part = Some(Part::Objstore),
                "--sample" => options.sample = usize::try_from(number()?)?,
                "--seed" => options.seed = number()?,
                _ => {
                    bail!("mutants takes core or objstore, --sample N and --seed S, not {argument}")
                }
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_defaults_and_are_checked() {
        let options = Options { part: None, sample: SAMPLE, seed: 1 };
        assert_eq!(Options::parse(&[]).unwrap(), options);
        let given = Options::parse(&["objstore", "--sample", "20", "--seed", "7"]).unwrap();
        assert_eq!(given, Options { part: Some(Part::Objstore), sample: 20, seed: 7 });
        for bad in [&["cli"][..], &["--sample"], &["--seed", "x"]] {
            assert!(Options::parse(bad).is_err(), "{bad:?}");
        }
    }
}
