//! Signals that ask the program to end. The program ends in order: it removes temporary files and
//! exits with 128 plus the signal's number.

use std::io;

/// The signals that end the program.
pub(crate) struct Signals {
    #[cfg(unix)]
    streams: Vec<(u8, tokio::signal::unix::Signal)>,
}

#[cfg(unix)]
impl Signals {
    /// Handles every signal that would otherwise end the program at once and that can be handled. A
    /// signal that the parent process ignores stays ignored, as `nohup` expects. Needs a runtime.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn install() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};

        let ignored = ignored();
        let mut streams = Vec::new();
        for number in numbers() {
            if ignored & (1 << (number - 1)) != 0 {
                continue;
            }
            let stream = signal(SignalKind::from_raw(number));
            match stream {
                Ok(stream) => streams.push((128_u8.saturating_add(number as u8), stream)),
                // The C library reserves some signals.
                Err(_) if number > 31 => {}
                Err(error) => return Err(error),
            }
        }
        // A write past the file size limit then fails, as on a full disk, and does not end the
        // program.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        Ok(Signals { streams })
    }

    /// Returns the exit code once one of the signals arrives. Cancel safe.
    pub(crate) async fn next(&mut self) -> u8 {
        use std::task::Poll;

        std::future::poll_fn(|context| {
            for (code, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*code);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The signals that end a program by default, except those that report a fault of the program.
#[cfg(unix)]
fn numbers() -> Vec<i32> {
    use rustix::process::Signal;

    let mut signals = vec![
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::ALARM,
        Signal::USR1,
        Signal::USR2,
        Signal::VTALARM,
        Signal::PROF,
        Signal::XCPU,
    ];
    #[cfg(target_os = "linux")]
    signals.extend([Signal::IO, Signal::POWER]);
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    signals.push(Signal::STKFLT);
    let mut numbers: Vec<i32> = signals.into_iter().map(Signal::as_raw).collect();
    if cfg!(target_os = "linux") {
        // The real-time signals, for programs' own use.
        numbers.extend(34..=64);
    }
    numbers
}

/// The ignored signals: bit n - 1 for signal n. Only Linux reveals them; elsewhere none.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(not(unix))]
impl Signals {
    /// Handles Ctrl-C.
    ///
    /// # Errors
    /// None.
    pub(crate) fn install() -> io::Result<Signals> {
        Ok(Signals {})
    }

    /// Returns the exit code once Ctrl-C arrives.
    pub(crate) async fn next(&mut self) -> u8 {
        let _ = tokio::signal::ctrl_c().await;
        130
    }
}
