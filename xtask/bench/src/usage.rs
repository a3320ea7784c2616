//! The resources that this process has used: wall time, CPU seconds, memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::job::Outcome;

/// Measures from its start to its stop.
pub(crate) struct Clock {
    sampler: Option<Sampler>,
    resident: Option<u64>,
    cpu: Option<f64>,
    start: Instant,
}

impl Clock {
    /// Starts the clock; with `sample`, memory is sampled every 20 ms.
    pub(crate) fn start(sample: bool) -> Clock {
        reset_peak();
        let resident = memory("VmRSS:", "self");
        let sampler = sample.then(|| Sampler::start(resident.unwrap_or(0)));
        Clock { sampler, resident, cpu: cpu_seconds(), start: Instant::now() }
    }

    /// The resources used since the start. The other fields of the outcome have their defaults.
    pub(crate) fn stop(self) -> Outcome {
        let wall_seconds = self.start.elapsed().as_secs_f64();
        let cpu_seconds = cpu_seconds().zip(self.cpu).map(|(now, then)| now - then);
        let peak = memory("VmHWM:", "self").zip(self.resident);
        Outcome {
            wall_seconds,
            cpu_seconds,
            peak_bytes: peak.map(|(peak, before)| peak.saturating_sub(before)),
            operations: 1,
            memory: self.sampler.map(Sampler::stop).unwrap_or_default(),
            ..Outcome::default()
        }
    }
}

/// The CPU seconds of this process so far, user and system.
#[cfg(unix)]
pub(crate) fn cpu_seconds() -> Option<f64> {
    seconds(nix::sys::resource::UsageWho::RUSAGE_SELF)
}

/// The CPU seconds of the processes that this one has started and waited for.
#[cfg(unix)]
pub(crate) fn cpu_seconds_of_children() -> Option<f64> {
    seconds(nix::sys::resource::UsageWho::RUSAGE_CHILDREN)
}

/// The peak of resident memory, in bytes, of any process that this one started and waited for.
#[cfg(target_os = "linux")]
pub(crate) fn peak_of_children() -> Option<u64> {
    let usage =
        nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).ok()?;
    u64::try_from(usage.max_rss()).ok().map(|kib| kib * 1024)
}

/// Unknown on this system, or in another unit.
#[cfg(not(target_os = "linux"))]
pub(crate) fn peak_of_children() -> Option<u64> {
    None
}

#[cfg(unix)]
fn seconds(who: nix::sys::resource::UsageWho) -> Option<f64> {
    let usage = nix::sys::resource::getrusage(who).ok()?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Some(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Unknown on this system.
#[cfg(not(unix))]
pub(crate) fn cpu_seconds() -> Option<f64> {
    None
}

/// Unknown on this system.
#[cfg(not(unix))]
pub(crate) fn cpu_seconds_of_children() -> Option<f64> {
    None
}

/// A line of a process's status, in bytes: `VmRSS:` is the resident memory, `VmHWM:` its peak.
pub(crate) fn memory(line: &str, process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let rest = status.lines().find_map(|found| found.strip_prefix(line))?;
    Some(rest.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Resets the peak, so that it excludes the preparation.
fn reset_peak() {
    // If the system refuses, the peak may be that of the preparation: too high, never too low.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Samples the memory of this process every 20 ms.
struct Sampler {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(f64, u64)>>,
}

impl Sampler {
    fn start(before: u64) -> Sampler {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let mut samples = Vec::new();
            while !over.load(Ordering::Relaxed) {
                if let Some(resident) = memory("VmRSS:", "self") {
                    let beyond = resident.saturating_sub(before);
                    samples.push((start.elapsed().as_secs_f64(), beyond));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            thinned(&samples)
        });
        Sampler { is_over, thread }
    }

    fn stop(self) -> Vec<(f64, u64)> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// At most 300 of the samples: of neighbours, the largest.
fn thinned(samples: &[(f64, u64)]) -> Vec<(f64, u64)> {
    let group = samples.len().div_ceil(300).max(1);
    let largest = |group: &[(f64, u64)]| group.iter().copied().max_by_key(|(_, bytes)| *bytes);
    samples.chunks(group).filter_map(largest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_are_seen() {
        // Other tests take and release memory, so the measurement needs a process of its own.
        const ALONE: &str = "CASTORE_BENCH_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            let mut this = std::process::Command::new(std::env::current_exe().unwrap());
            let arguments = ["--exact", "usage::tests::work_and_memory_are_seen"];
            assert!(this.args(arguments).env(ALONE, "1").status().unwrap().success());
            return;
        }
        let clock = Clock::start(true);
        let data = vec![1_u8; 256 << 20];
        let digest = blake3::hash(std::hint::black_box(&data));
        let outcome = clock.stop();
        assert_ne!(digest, blake3::hash(b""));
        assert!(outcome.wall_seconds > 0.0);
        if cfg!(target_os = "linux") {
            assert!(outcome.cpu_seconds.unwrap() > 0.0);
            assert!(outcome.peak_bytes.unwrap() > 100 << 20, "{outcome:?}");
            assert!(!outcome.memory.is_empty());
        }
    }

    #[test]
    fn thinning_keeps_the_peak() {
        let samples: Vec<(f64, u64)> = (0..1000).map(|n| (n as f64, n * 7919 % 1000)).collect();
        let thin = thinned(&samples);
        assert!(thin.len() <= 300);
        assert_eq!(thin.iter().map(|(_, bytes)| *bytes).max(), Some(999));
        assert_eq!(thinned(&[]), []);
    }
}
