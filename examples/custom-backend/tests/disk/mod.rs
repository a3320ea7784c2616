//! A disk in memory, below redb, that can fail and lose its power.

use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use castore_testsuite::{Fault, Operation};
use redb::StorageBackend;

/// Clones share the disk.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    data: Vec<u8>,
    /// The actions, from last to first, that undo all changes since the last flush.
    undo: Vec<Undo>,
    fault: Option<Fault>,
    /// The number of operations of the fault's kind since it was set.
    seen: usize,
    struck: bool,
}

enum Undo {
    Write { offset: usize, data: Vec<u8> },
    Length { length: usize, tail: Vec<u8> },
}

impl Disk {
    pub(crate) fn fail(&self, fault: Fault) {
        let mut state = self.state();
        (state.fault, state.seen, state.struck) = (Some(fault), 0, false);
    }

    /// Ends the fault, and returns whether it made anything fail.
    pub(crate) fn heal(&self) -> bool {
        let mut state = self.state();
        state.fault = None;
        mem::take(&mut state.struck)
    }

    /// A new disk with the data that survives if the power is cut now: the flushed data.
    pub(crate) fn after_a_power_cut(&self) -> Disk {
        let state = self.state();
        let mut data = state.data.clone();
        undo(&mut data, state.undo.iter().rev());
        Disk(Arc::new(Mutex::new(State { data, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn operate<T>(
        &self,
        operation: Operation,
        changes_length: bool,
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state();
        if let Some(fault) = state.fault.filter(|fault| fault.operation == operation) {
            let number = state.seen;
            state.seen += 1;
            if number == fault.after || number > fault.after && fault.lasting {
                state.struck = true;
                // Only the confirmation of a write may be lost. redb takes a file with another
                // length than it knows for damaged, so a change of the length either fails or is
                // confirmed.
                if fault.done && !changes_length {
                    work(&mut state)?;
                }
                return Err(io::Error::other("the disk is on fire"));
            }
        }
        work(&mut state)
    }
}

fn undo<'a>(data: &mut Vec<u8>, changes: impl Iterator<Item = &'a Undo>) {
    for change in changes {
        match change {
            Undo::Write { offset, data: old } => {
                data[*offset..*offset + old.len()].copy_from_slice(old);
            }
            Undo::Length { length, tail } => {
                data.truncate(length - tail.len());
                data.extend_from_slice(tail);
                data.resize(*length, 0);
            }
        }
    }
}

/// The bytes at `offset`, as far as the data reaches.
fn range(offset: u64, len: usize, data: &[u8]) -> io::Result<std::ops::Range<usize>> {
    let range = offset as usize..offset as usize + len;
    if range.end > data.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(range)
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.operate(Operation::Read, false, |state| Ok(state.data.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.operate(Operation::Read, false, |state| {
            let range = range(offset, out.len(), &state.data)?;
            out.copy_from_slice(&state.data[range]);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.operate(Operation::Write, true, |state| {
            let (length, len) = (state.data.len(), len as usize);
            let tail = state.data.get(len..).unwrap_or_default().to_vec();
            state.undo.push(Undo::Length { length, tail });
            state.data.resize(len, 0);
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.operate(Operation::Write, false, |state| {
            let range = range(offset, data.len(), &state.data)?;
            let old = state.data[range.clone()].to_vec();
            state.undo.push(Undo::Write { offset: range.start, data: old });
            state.data[range].copy_from_slice(data);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.operate(Operation::Write, false, |state| {
            state.undo.clear();
            Ok(())
        })
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Disk").field(&self.state().data.len()).finish()
    }
}
