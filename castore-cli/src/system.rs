//! The limits of the system: open files and threads.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::failure::{FAILED, Failure, Result};

/// The number of blocking threads that exist from the beginning. Blocking work, such as on files,
/// waits for one of them if the system allows no more.
const WAITING: usize = 4;

/// The size of the command's stack, in bytes: as large as that of a program's first thread.
const STACK: usize = 8 * 1024 * 1024;

/// The time limit for threads to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Raises the limit of open files as far as the system lets the program. Shells set 1024 or less
/// for the sake of programs that use `select`; this one does not.
pub(crate) fn allow_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let limit = getrlimit(Resource::Nofile);
        if limit.current != limit.maximum {
            let raised = Rlimit { current: limit.maximum, ..limit };
            // If the system refuses, as with a limit of its own, the limit stays as it is.
            let _ = setrlimit(Resource::Nofile, raised);
        }
    }
}

/// The runtime, with all threads that it must have.
///
/// # Errors
/// The system has no more threads, or lacks another resource of a runtime.
pub(crate) fn runtime() -> Result<Runtime> {
    let workers = thread::available_parallelism().map_or(1, |count| count.get());
    // The runtime panics if it can start no thread, and may wait for ever if it can start only
    // some.
    try_threads(workers + WAITING + 1).map_err(no_threads)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .thread_keep_alive(Duration::from_secs(365 * 24 * 3600))
        .build()
        .map_err(anyhow::Error::new)?;
    let (started, starts) = mpsc::channel();
    let (held, hold) = mpsc::channel::<()>();
    let hold = Arc::new(Mutex::new(hold));
    for _ in 0..WAITING {
        let (started, hold) = (started.clone(), Arc::clone(&hold));
        runtime.spawn_blocking(move || {
            let _ = started.send(());
            // Each thread lives until all have started: otherwise one could take the place of
            // another.
            let _ = hold.lock().map(|hold| hold.recv());
        });
    }
    for _ in 0..WAITING {
        starts.recv_timeout(PATIENCE).map_err(no_threads)?;
    }
    drop(held);
    Ok(runtime)
}

/// Starts a thread for `work`, with enough stack for a command's state.
///
/// # Errors
/// The system has no more threads.
pub(crate) fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    thread.spawn(work).map(drop).map_err(no_threads)
}

/// Starts `count` threads at the same time, and ends them.
fn try_threads(count: usize) -> io::Result<()> {
    let mut threads = Vec::new();
    let (held, hold) = mpsc::channel::<()>();
    let hold = Arc::new(Mutex::new(hold));
    let mut result = Ok(());
    for _ in 0..count {
        let hold = Arc::clone(&hold);
        let wait = move || {
            let _ = hold.lock().map(|hold| hold.recv());
        };
        match thread::Builder::new().spawn(wait) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    drop(held);
    for thread in threads {
        // The thread cannot panic.
        let _ = thread.join();
    }
    result
}

fn no_threads(error: impl std::fmt::Display) -> Failure {
    let message = format!(
        "the system lets castore start no more threads ({error}); end other programs, or raise the limit \
         (ulimit -u, ulimit -v, pids.max)"
    );
    Failure::new(FAILED, message)
}
