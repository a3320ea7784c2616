//! For tests on tokio's paused clock: the clock stands still while a thread of ours works.
//!
//! A paused clock moves on whenever its runtime is idle, and a runtime does not see what goes on in
//! threads that are not its own. It does see work in its blocking pool: so such work is there, and does
//! nothing, while there are jobs of the runtime. One hold serves all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};

use tokio::runtime::{Handle, Id, RuntimeFlavor};

/// Keeps the clock of a runtime still until the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Hold {
    _released: Arc<mpsc::Sender<()>>,
}

/// Holds the clock of the runtime `handle`, where it has one that can be paused.
pub(crate) fn hold(handle: &Handle) -> Option<Hold> {
    static HOLDS: Mutex<Option<HashMap<Id, Weak<mpsc::Sender<()>>>>> = Mutex::new(None);
    if handle.runtime_flavor() != RuntimeFlavor::CurrentThread {
        return None;
    }
    let mut holds = HOLDS.lock().unwrap_or_else(PoisonError::into_inner);
    let holds = holds.get_or_insert_default();
    if let Some(_released) = holds.get(&handle.id()).and_then(Weak::upgrade) {
        return Some(Hold { _released });
    }
    holds.retain(|_, hold| hold.strong_count() > 0);
    let (sender, released) = mpsc::channel();
    let _released = Arc::new(sender);
    holds.insert(handle.id(), Arc::downgrade(&_released));
    handle.spawn_blocking(move || released.recv());
    Some(Hold { _released })
}
