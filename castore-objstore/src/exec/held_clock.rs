//! For tests on tokio's paused clock: the clock stands still while a thread of this crate works.
//!
//! A paused clock advances whenever its runtime is idle, and a runtime does not see the work of
//! threads that are not its own. A runtime does see work in its blocking pool. So while the runtime
//! has jobs here, a piece of work that does nothing occupies the pool. One hold serves all jobs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};

use tokio::runtime::{Handle, Id, RuntimeFlavor};

/// Keeps the clock of a runtime still until the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Hold {
    _released: Arc<mpsc::Sender<()>>,
}

/// Holds the clock of the runtime `handle`, if the runtime has one that can be paused.
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
