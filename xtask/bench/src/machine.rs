//! The machine on which a run was measured.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The facts a reader needs to compare numbers; empty strings if unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) system: String,
    /// The kind of filesystem that holds the local stores.
    pub(crate) filesystem: String,
    pub(crate) rustc: String,
    pub(crate) castore: String,
    pub(crate) date: String,
}

impl Machine {
    /// Examines the machine. `data` is the directory of the stores.
    pub(crate) fn look(data: &Path) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let meminfo = read("/proc/meminfo");
        let memory = meminfo.lines().find_map(|line| {
            line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok()
        });
        let system = output("uname", &["-sr"]);
        let system = if system.is_empty() { std::env::consts::OS.to_owned() } else { system };
        let commit =
            output("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"]);
        Machine {
            cpu: cpu.map_or(std::env::consts::ARCH, |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory.unwrap_or(0) * 1024,
            system,
            filesystem: filesystem(&read("/proc/self/mounts"), data),
            rustc: output("rustc", &["--version"]),
            castore: format!("{} {commit}", version()).trim().to_owned(),
            date: date(SystemTime::now()),
        }
    }

    /// All facts in one line.
    pub(crate) fn line(&self) -> String {
        let memory = match self.memory_bytes {
            0 => String::new(),
            bytes => format!("{:.0} GB of memory, ", bytes as f64 / 1e9),
        };
        let filesystem = match self.filesystem.as_str() {
            "" => String::new(),
            kind => format!("{kind}, "),
        };
        let Machine { cpu, cores, system, rustc, castore, date, .. } = self;
        format!(
            "{cpu}, {cores} cores, {memory}{filesystem}{system}; {rustc}; castore {castore}; {date}"
        )
    }
}

/// The version of castore, common to all its crates.
fn version() -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap_or_default();
    let mut versions = manifest.lines().filter_map(|line| line.strip_prefix("version = "));
    versions.next().unwrap_or_default().trim_matches('"').to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.ok().filter(|output| output.status.success());
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

/// The kind of the filesystem with the longest mount point above `path`.
fn filesystem(mounts: &str, path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map_or(String::new(), |(_, kind)| kind.to_owned())
}

/// The date in UTC, as `2026-01-31`.
fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut days = seconds / 86_400;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

/// The free bytes of the filesystem that holds `path`, if the system reports them.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let found = rustix::fs::statvfs(path).ok()?;
        Some(found.f_bavail * found.f_frsize)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let day = |days: u64| date(UNIX_EPOCH + Duration::from_secs(days * 86_400));
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(58), "1970-02-28");
        assert_eq!(day(11_016), "2000-02-29");
        assert_eq!(day(20_453), "2025-12-31");
        assert_eq!(day(20_454), "2026-01-01");
    }

    #[test]
    fn the_filesystem_is_that_of_the_nearest_mount() {
        let mounts = "a / ext4 rw 0 0\nb /nowhere xfs rw 0 0\nc /nowhere/else tmpfs rw 0 0\n";
        assert_eq!(filesystem(mounts, Path::new("/nowhere/else/x")), "tmpfs");
        assert_eq!(filesystem(mounts, Path::new("/nowhere/elsewhere")), "xfs");
        assert_eq!(filesystem("", Path::new("/nowhere")), "");
    }

    #[test]
    fn the_version_is_there() {
        assert!(version().starts_with(|c: char| c.is_ascii_digit()), "{}", version());
        assert!(Machine::look(Path::new(".")).line().contains("castore "));
    }
}
