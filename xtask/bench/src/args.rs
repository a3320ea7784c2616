//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures castore beside the obvious implementation, and beside other programs; checks every
/// answer.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: Options,

    #[command(subcommand)]
    pub(crate) hidden: Option<Hidden>,
}

/// The choice of measurements, and the form of the results.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Measure everything once, on 64 MB: checks that everything works, not how fast it is
    #[arg(long)]
    pub(crate) quick: bool,

    /// Only measurements with this text in the scenario, store or corpus, as the table prints them;
    /// of several texts, separated by commas, all must be present
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    pub(crate) filter: Vec<String>,

    /// Also measure the programs on the PATH: restic, borg, casync, rclone, desync, kopia
    #[arg(long)]
    pub(crate) peers: bool,

    /// The size of each corpus, in 10^6 bytes [default: 512; 64 with --quick]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) size: Option<u64>,

    /// The number of repetitions; the medians are printed [default: 3; 1 with --quick]
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) repeat: Option<u64>,

    /// Write all measurements to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with plots, index.html, into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,

    /// Print the tables as Markdown at the end
    #[arg(long)]
    pub(crate) markdown: bool,

    /// Keep the measurements under this name
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) save: Option<String>,

    /// Compare with the measurements that were kept under this name
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) baseline: Option<String>,

    /// The directory for the corpora and the stores [default: bench-data beside the program's own
    /// directory, which is target/bench-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// The commands with which the program starts itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Hidden {
    /// Make one measurement
    #[command(hide = true)]
    Child { job: String },
    /// Be an S3 server over a directory
    #[command(hide = true)]
    S3 { directory: PathBuf },
    /// Run MinIO over a directory
    #[command(hide = true)]
    Minio { program: PathBuf, directory: PathBuf },
    /// Measure operations on stores of so many chunks
    #[command(hide = true)]
    Scale { chunks: u64, directory: PathBuf },
    /// Measure one of these operations
    #[command(hide = true)]
    ScaleOne { operation: usize, chunks: u64, place: Option<PathBuf> },
}

impl Options {
    /// The size of each corpus, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size.unwrap_or(if self.quick { 64 } else { 512 }) * 1_000_000
    }

    pub(crate) fn repeat(&self) -> u64 {
        self.repeat.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// Whether the filters select a measurement with these names.
    pub(crate) fn wants(&self, names: &[&str]) -> bool {
        self.filter.iter().all(|text| names.iter().any(|name| name.contains(text.as_str())))
    }
}

/// Parses a file name that stays in its directory.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !text.is_empty() && !text.starts_with('.') && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("a name has letters, digits, '-', '_' and '.'".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_filter_is_part_of_a_name() {
        let parse = |text: &str| {
            let arguments = ["bench", "--filter", text];
            Args::try_parse_from(arguments).unwrap().options
        };
        let names = ["put_new", "local", "sources"];
        assert!(parse("put").wants(&names));
        assert!(parse("local,sour").wants(&names));
        assert!(!parse("local,random").wants(&names));
        assert!(name("a-b_1.2").is_ok());
        assert!(name("../x").is_err() && name("").is_err() && name(".x").is_err());
    }
}
