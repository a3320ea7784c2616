//! Damage for a repair to fix.

use std::fs::{self, OpenOptions};
use std::path::Path;

use anyhow::Result;

use super::files::{Random, sizes};

/// One of this many chunks is damaged.
const CHUNKS: usize = 10;

/// One of this many indexes is damaged.
const INDEXES: usize = 8;

/// Deletes some chunks of a store, and truncates other chunks and some indexes.
pub(super) fn damage(store: &Path, random: &mut Random) -> Result<()> {
    for (number, (path, size)) in sizes(&store.join("chunks"))?.into_iter().enumerate() {
        if number % CHUNKS == 0 {
            match random.below(2) {
                0 => fs::remove_file(path)?,
                _ => cut_short(&path, size, random)?,
            }
        }
    }
    for (path, size) in sizes(&store.join("blobs"))?.into_iter().step_by(INDEXES) {
        cut_short(&path, size, random)?;
    }
    Ok(())
}

fn cut_short(path: &Path, size: u64, random: &mut Random) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(random.below(size as usize) as u64)?;
    Ok(())
}
