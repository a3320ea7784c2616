//! The child processes: one for each measurement, and the servers.
//!
//! A child lives as long as its standard input is open: however this program ends, its children end
//! too.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::job::{Endpoint, Job, Outcome};

/// The user interrupted the run. This is not a failure.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The open inputs of the children. A child ends when its input is closed.
static INPUTS: Mutex<Vec<(u32, ChildStdin)>> = Mutex::new(Vec::new());

/// Ends all children on Ctrl-C, so that the code that waits for them can clean up.
pub(crate) fn watch_for_interrupts() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        if runtime.block_on(interrupt()).is_ok() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            INPUTS.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    });
    Ok(())
}

#[cfg(unix)]
async fn interrupt() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn interrupt() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Whether Ctrl-C was pressed.
pub(crate) fn check_interrupted() -> Result<()> {
    match INTERRUPTED.load(Ordering::SeqCst) {
        true => Err(Interrupted.into()),
        false => Ok(()),
    }
}

/// Does `job` in a separate process.
pub(crate) fn run(job: &Job) -> Result<Outcome> {
    let (mut child, mut output) = start(&["child", &serde_json::to_string(job)?])?;
    let mut answer = String::new();
    let read = output.read_to_string(&mut answer);
    let status = child.wait()?;
    forget(child.id());
    check_interrupted()?;
    read?;
    if !status.success() {
        bail!("the process that measures ended with {status}");
    }
    serde_json::from_str(&answer).with_context(|| format!("its answer is malformed: {answer}"))
}

fn start(arguments: &[&str]) -> Result<(Child, BufReader<ChildStdout>)> {
    check_interrupted()?;
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start another process of this program")?;
    let input = child.stdin.take().context("it has no input")?;
    let output = child.stdout.take().context("it has no output")?;
    INPUTS.lock().unwrap_or_else(PoisonError::into_inner).push((child.id(), input));
    // The interrupt may have come before the child's input was registered.
    if let Err(interrupted) = check_interrupted() {
        forget(child.id());
        child.wait()?;
        return Err(interrupted);
    }
    Ok((child, BufReader::new(output)))
}

/// Closes the input of a child.
fn forget(id: u32) {
    INPUTS.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| *known != id);
}

/// A server in a separate process, which ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) endpoint: Endpoint,
}

impl Server {
    /// Starts this program with `arguments` that make it a server that prints its endpoint.
    pub(crate) fn start(arguments: &[&str]) -> Result<Server> {
        let (mut child, mut output) = start(arguments)?;
        let mut line = String::new();
        let read = output.read_line(&mut line);
        match read.map_err(anyhow::Error::from).and_then(|_| Ok(serde_json::from_str(&line)?)) {
            Ok(endpoint) => Ok(Server { child, endpoint }),
            Err(_) => {
                forget(child.id());
                child.wait()?;
                check_interrupted()?;
                bail!("the server does not start");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        forget(self.child.id());
        let _ = self.child.wait();
    }
}

/// The program that a child itself runs. The program ends together with the child.
static OWN: Mutex<Option<Child>> = Mutex::new(None);

/// In a child: ends the child when its input is closed.
pub(crate) fn end_with_input() {
    std::thread::spawn(|| {
        wait_for_end_of_input();
        if let Some(child) = &mut *OWN.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = child.kill();
            let _ = child.wait();
        }
        std::process::exit(130);
    });
}

fn wait_for_end_of_input() {
    let mut buffer = [0; 64];
    while let Ok(1..) = std::io::stdin().read(&mut buffer) {}
}

/// In a child: starts a program that ends with the child.
pub(crate) fn start_own(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    *OWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    Ok(())
}

/// In a child: waits for that program, and returns whether it succeeded.
pub(crate) fn wait_for_own() -> Result<bool> {
    loop {
        if let Some(child) = &mut *OWN.lock().unwrap_or_else(PoisonError::into_inner)
            && let Some(status) = child.try_wait()?
        {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
