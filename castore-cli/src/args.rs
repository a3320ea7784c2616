//! The command line.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use castore_objstore::doctor::Operation;
use castore_objstore::units::parse_time;
use clap::builder::TypedValueParser;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const AFTER_HELP: &str = "\
Stores:
  /a/path, file:///a/path    a directory
  s3://BUCKET/BASE           S3, MinIO, Garage, R2: AWS_ENDPOINT, AWS_ACCESS_KEY_ID, ...
  gs://BUCKET/BASE           Google Cloud Storage: GOOGLE_APPLICATION_CREDENTIALS, ...
  az://CONTAINER/BASE        Azure: AZURE_STORAGE_ACCOUNT_NAME, ...
  http://HOST/BASE           WebDAV

Exit codes:
  0 success, 1 failure, 2 wrong usage, 3 data missing or corrupt, 4 no such blob,
  10 no such store, 128 and its number after a signal, such as 130 after Ctrl-C";

/// Deduplicating blob storage on any object store.
#[derive(Debug, Parser)]
#[command(name = "castore", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Args {
    /// The store: a path or a URL. Without it, a directory of your own, made on first use
    #[arg(
        short,
        long,
        global = true,
        value_name = "URL",
        env = "CASTORE_STORE",
        hide_env_values = true
    )]
    pub(crate) store: Option<String>,

    /// An option of the store, such as zstd-level=9, chunk-size=64KiB, memory=256MiB, requests=128,
    /// durable=false, or one of the cloud's, such as region=eu-west-1
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE", value_parser = KeyValue)]
    pub(crate) options: Vec<(String, String)>,

    /// Print JSON on standard output, an object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// No progress and no summary
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Say more about failures and requests; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store files; print the digest and name of each as soon as it is safe
    #[command(
        after_help = "Example: tar c project | castore put -\n\nA file that changes while it is read is stored as it was read, with a warning and exit code 1.\n\nA name with a line break, a backslash or bytes that are not UTF-8 is printed with \\n, \\r, \\\\ or \\xff (in hexadecimal), and a \\ at the start of its line.\n\n--json prints {\"type\":\"blob\",\"digest\",\"name\",\"size\"} for each file, with a \"warning\" where it changed,\n{\"type\":\"error\",\"name\",\"error\"} for each that failed, and {\"type\":\"summary\",...} last. A \"name\" that is not\nUTF-8, or has \\x in it, is printed with \\\\ for \\ and \\xff for a byte."
    )]
    Put {
        /// Files to store; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Read and verify data that is in the store already before relying on it, and store bad
        /// data again
        #[arg(long)]
        check: bool,
    },
    /// Restore a blob to a file, which appears when it is whole and verified
    #[command(after_help = "Example: castore get 41f83941 -o hello.txt")]
    Get {
        /// The digest, or 8 or more of its first digits
        digest: String,
        /// The file to write; `-` is standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replace the file if it exists; the new one has its mode and, where allowed, its owner
        #[arg(short, long)]
        force: bool,
        /// Whether long runs of zeros become holes, which take up no space
        #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
        sparse: Sparse,
    },
    /// Write a blob to standard output
    #[command(after_help = "Example: castore cat 41f83941 --range 1MiB..2MiB")]
    Cat {
        /// The digest, or 8 or more of its first digits
        digest: String,
        /// Only these bytes: A..B, A.. or ..B, from A (the first byte is 0) up to but without B
        #[arg(long, value_name = "A..B")]
        range: Option<String>,
    },
    /// Write the outboard of a blob, as bao does with chunk groups of 2^8: the hashes that prove
    /// any 256 KiB of the blob by themselves
    ///
    /// The outboard has 64 bytes for each inner node of the tree, in pre-order and without a
    /// header. A blob whose index has no group hashes is read as a whole.
    #[command(after_help = "Example: castore outboard 41f83941 -o hello.obao8")]
    Outboard {
        /// The digest, or 8 or more of its first digits
        digest: String,
        /// The file to write instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replace the file if it exists
        #[arg(short, long, requires = "output")]
        force: bool,
    },
    /// Show the size of a blob, its chunks, and the bytes that they take up
    Stat {
        /// The digest, or 8 or more of its first digits
        digest: String,
        /// List every chunk: offset, size, stored size (all in bytes), digest
        #[arg(long)]
        chunks: bool,
    },
    /// List the blobs in the store
    Ls {
        /// Also print the size in bytes and the number of chunks
        #[arg(short, long)]
        long: bool,
    },
    /// Remove blobs: their indexes, not the chunks, which others may share
    #[command(after_help = "Example: castore ls | grep ^00 | castore rm --list -")]
    Rm {
        /// The digests, or 8 or more of their first digits
        #[arg(required_unless_present = "list", value_name = "DIGEST")]
        digests: Vec<String>,
        /// A file with a digest at the start of each line, as ls and put print them; `-` is
        /// standard input
        #[arg(short, long, value_name = "FILE")]
        list: Vec<PathBuf>,
    },
    /// Copy blobs to another store: only the chunks that it lacks; print each digest as soon as it
    /// is safe there
    #[command(
        after_help = "What is there already is not copied again: after an interrupt, run the same command.\n\nExample: castore -s /srv/store copy --to s3://bucket/base --all\n\n--json prints {\"type\":\"blob\",\"digest\",\"outcome\",...} for each blob, with the outcome copied, there, absent or failed, and {\"type\":\"summary\",...} last."
    )]
    Copy {
        /// The store to copy to: a path or a URL; a directory is made where there is none
        #[arg(short, long, value_name = "URL")]
        to: String,
        /// An option of that store, as -o is of the one to copy from
        #[arg(long = "to-option", value_name = "KEY=VALUE", value_parser = KeyValue)]
        to_options: Vec<(String, String)>,
        /// The digests, or 8 or more of their first digits
        #[arg(required_unless_present_any = ["list", "all"], value_name = "DIGEST")]
        digests: Vec<String>,
        /// A file with a digest at the start of each line, as ls and put print them; `-` is
        /// standard input
        #[arg(short, long, value_name = "FILE")]
        list: Vec<PathBuf>,
        /// Every blob
        #[arg(short, long, conflicts_with_all = ["list", "digests"])]
        all: bool,
        /// Read each blob back and check its digest before it counts as copied
        #[arg(long)]
        verify: bool,
    },
    /// Show what is in the store: blobs, chunks, sizes, ratios, and what it costs
    #[command(
        after_help = "Prices are yours, in any currency: gib-month (a GiB stored for a month), put, get and list\n(1000 requests each), egress-gib (a GiB read from outside).\n\nExample: castore stats --prices gib-month=0.023,put=0.005,get=0.0004"
    )]
    Stats {
        /// Estimate costs at these prices; further ones may be given with commas or again
        #[arg(long, value_name = "NAME=PRICE")]
        prices: Vec<String>,
    },
    /// Show what two blobs share: bytes of chunks, each counted once
    Diff {
        /// A digest, or 8 or more of its first digits
        #[arg(value_name = "DIGEST")]
        first: String,
        /// Another digest
        #[arg(value_name = "DIGEST")]
        second: String,
    },
    /// Collect garbage: set aside the chunks that no blob uses, and remove those set aside before
    ///
    /// Without --run it only shows what would be done. Others may use the store meanwhile. A later
    /// run removes the chunks that are set aside, after a grace period at the earliest, unless a
    /// blob uses them by then: so run it regularly, such as daily.
    #[command(
        after_help = "Example: castore gc --run\n\n--json prints {\"type\":\"gc\",...}: numbers of objects and their stored bytes."
    )]
    Gc {
        /// Do it, and not only show what would be done
        #[arg(long)]
        run: bool,
        /// Keep only the blobs whose digests are in this file, one a line, as put and b3sum print
        /// them, and those written within the grace period; `-` is standard input
        #[arg(long, value_name = "FILE")]
        keep: Option<PathBuf>,
        /// How long a chunk is unused before it is set aside, and how long it is kept aside: 90m,
        /// 24h, 7d. No writer may need more than half of it for a blob
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
        grace: Duration,
        /// The largest share of all chunks, and of all blobs, that may be set aside, from 0 to 1. A
        /// run that would take more is refused, and so is one that finds chunks but no blob; 1
        /// insists
        #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
        max_fraction: f64,
        /// Continue although a blob that --keep names is not in the store
        #[arg(long, requires = "keep")]
        allow_absent: bool,
        /// Continue although a repair has moved the index of a blob to the quarantine: chunks that
        /// only such a blob lists are garbage, then
        #[arg(long)]
        ignore_quarantine: bool,
    },
    /// Find out whether a bucket or a directory is fit for castore: for which operations, and why
    /// not
    ///
    /// Makes some 5000 small requests below castore-doctor/ in the store, compares the answers with
    /// what castore relies on, and removes its objects again. There need not be a store yet; none
    /// is made, and one that is there is neither read nor changed. A store may be examined while
    /// others use it.
    #[command(after_help = AFTER_DOCTOR)]
    Doctor {
        /// Only these decide the exit code: put, get, ls, rm, verify, gc, repair, copy
        #[arg(long = "for", value_name = "OPERATION", value_delimiter = ',', value_parser = operation)]
        operations: Vec<Operation>,
        /// The number of objects of the longest listing: more than a page of the store holds
        #[arg(long, value_name = "N", default_value_t = 1100, value_parser = counted::<100_000>)]
        objects: usize,
        /// The number of requests at once
        #[arg(long, value_name = "N", default_value_t = 64, value_parser = counted::<512>)]
        at_once: usize,
        /// The time after which a request counts as not answered: 30s, 2m
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// Check that everything is present and undamaged; print what is not
    Verify(VerifyArgs),
    /// Verify, and repair what is damaged; move aside what cannot be repaired
    Repair(RepairArgs),
    /// A dry run of put: show what would be shared, and what would be new
    Chunk {
        /// Files to cut; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// List every chunk: offset, size, digest
        #[arg(long)]
        list: bool,
        /// Cut and digest on so many threads; by default on all processors
        #[arg(long, value_name = "N")]
        threads: Option<NonZeroUsize>,
    },
    /// Print the digests of files, as b3sum does
    #[command(
        after_help = "Names, files that change and --json are as with put; here an object has no \"type\" but for an error."
    )]
    Hash {
        /// Files to digest; `-` is standard input, and so is no file at all
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print completions for a shell
    #[command(
        after_help = "Example: castore completions bash > ~/.local/share/bash-completion/completions/castore"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Says when a restored file has holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sparse {
    /// In regular files
    Auto,
    /// In no file
    Never,
}

/// The depth of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Every index decodes, and every chunk that it lists is there
    Index,
    /// Also, every chunk is read and verified
    Data,
    /// Also, every blob is read and has its digest
    Blob,
}

const AFTER_DOCTOR: &str = "\
Exit codes: 0 fit, be it with limits; 3 not fit for some operation; 1 not known, because the store did not \
answer in time or refused what would tell, or objects could not be removed; 10 no such bucket or directory.

Example: castore -s s3://bucket/base doctor --for put,get

--json prints {\"type\":\"check\",\"name\",\"verdict\",\"detail\",\"needed_by\",...} for each check, with the \
verdicts ok, failed, not_known and not_tried, {\"type\":\"operation\",\"name\",\"fitness\",\"reasons\",...} \
for each operation, with fit, limited, not_known and not_fit, and {\"type\":\"summary\",...} last.";

const AFTER_VERIFY: &str = "\
Each finding is a line: the problem, the key of the object, and a blob that cannot be read because of \
it. Exit code 3 says that something is damaged; strays, and what crashes leave, do no harm.

Example: castore verify --sample 5% reads another 5% of all chunks each day

--json prints {\"type\":\"finding\",\"problem\",\"damage\",\"key\",\"digest\",\"detail\",\"blobs\",\"blob_count\"} \
for each finding and {\"type\":\"summary\",...} last.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_VERIFY)]
pub(crate) struct VerifyArgs {
    /// How closely to look; by default at the indexes, and with --sample or --since at the data
    #[arg(short, long, value_enum)]
    pub(crate) level: Option<Level>,
    /// Read only so much of the chunks and blobs, such as 5%: those with certain digests
    #[arg(long, value_name = "PART")]
    pub(crate) sample: Option<String>,
    /// Which part to read of those that --sample makes; by default another one each day
    #[arg(long, value_name = "N", requires = "sample")]
    pub(crate) part: Option<u64>,
    /// Read only what was written since then: an age such as 12h or 7d, or a date such as
    /// 2026-11-25
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Record progress in this file, and resume from it if it exists; it is removed at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) resume: Option<PathBuf>,
}

const AFTER_REPAIR: &str = "\
Each finding is a line, with what became of it: repaired; quarantined (no source has it, and the bad \
object was moved to quarantine/ in the store, so that the next put stores it again); lost (no source \
has it, and there is nothing to move); not-known (the store or a source could not be read, and nothing \
was changed); removed, changed, left, failed. Exit code 3 says that some blob still cannot be read, and \
exit code 1 that something is not known or has failed.

Example: castore repair --from s3://backup/store --from libs.tar";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_REPAIR)]
pub(crate) struct RepairArgs {
    /// A store or a file with good copies of damaged data; may be given several times
    #[arg(long, value_name = "STORE|FILE")]
    pub(crate) from: Vec<String>,
    /// An option of the stores that --from names
    #[arg(long = "from-option", value_name = "KEY=VALUE", value_parser = KeyValue)]
    pub(crate) from_options: Vec<(String, String)>,
    /// How closely to look for damage
    #[arg(short, long, value_enum, default_value = "data")]
    pub(crate) level: Level,
    /// Also write the indexes that have no group hashes again with them, after each whole blob was
    /// read
    #[arg(long)]
    pub(crate) add_group_hashes: bool,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Parses `KEY=VALUE`. The error does not repeat the argument, which may be a secret.
#[derive(Debug, Clone)]
struct KeyValue;

impl TypedValueParser for KeyValue {
    type Value = (String, String);

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<(String, String), clap::Error> {
        match value.to_str().and_then(|text| text.split_once('=')) {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => {
                let name = argument.map_or("an option".to_owned(), ToString::to_string);
                let message = format!("a value of '{name}' is not KEY=VALUE\n");
                let kind = clap::error::ErrorKind::ValueValidation;
                Err(clap::Error::raw(kind, message).with_cmd(command))
            }
        }
    }
}

/// Parses the name of an operation.
fn operation(text: &str) -> Result<Operation, String> {
    let named = Operation::ALL.into_iter().find(|operation| operation.name() == text);
    let names: Vec<&str> = Operation::ALL.into_iter().map(Operation::name).collect();
    named.ok_or_else(|| format!("it is not one of {}", names.join(", ")))
}

/// Parses a number from 1 to `MOST`.
fn counted<const MOST: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("it is not a number from 1 to {MOST}"))
}

/// Parses `90s`, `15m`, `24h` or `7d`; `0` needs no unit.
fn duration(text: &str) -> Result<Duration, String> {
    parse_time(text).ok_or_else(|| "it is not a time such as 90m, 24h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
