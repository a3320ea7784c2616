//! A store as a power cut could have left it: rebuilt from a snapshot and the journal since.
//!
//! Two models of a filesystem. *Ordered*, like ext4, XFS and btrfs: names change in order, and any
//! flush makes all earlier changes of names durable; contents are durable only once their file, or
//! everything, was flushed. *Loose*, which is all that POSIX promises: each directory keeps the
//! changes made before its own flush, and some first part of the later ones. In both models,
//! contents that were not flushed may be complete, empty, truncated or zeros.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::super::files::Random;
use super::journal::{Event, Record};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    Ordered,
    Loose,
}

/// The unflushed changes that survive a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aftermath {
    /// All names, and no contents: the result of delayed allocation.
    NamesOnly,
    /// No names and no contents.
    Nothing,
    /// Some names and some contents.
    Some,
}

/// A file. Only the directories know its names.
#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    modified: Duration,
}

/// A whole store in memory. Paths are relative to it; the store itself is "".
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    contents: Vec<Content>,
    files: BTreeMap<String, usize>,
    directories: BTreeSet<String>,
    inodes: BTreeMap<u64, usize>,
}

/// The distance of an event from the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Durable,
    Lost,
}

/// An event with its file.
struct Step<'a> {
    record: &'a Record,
    file: Option<usize>,
    state: State,
}

impl Disk {
    /// Reads everything in the directory, if it exists.
    pub(super) fn snapshot(root: &Path) -> Result<Disk> {
        let mut disk = Disk::default();
        disk.add(root, "")?;
        Ok(disk)
    }

    fn add(&mut self, path: &Path, name: &str) -> Result<()> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        self.directories.insert(name.to_owned());
        for entry in entries {
            let entry = entry?;
            let own = entry.file_name().to_string_lossy().into_owned();
            let name = if name.is_empty() { own } else { format!("{name}/{own}") };
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                self.add(&entry.path(), &name)?;
                continue;
            }
            let next = self.contents.len();
            let file = *self.inodes.entry(metadata.ino()).or_insert(next);
            if file == next {
                let modified = metadata.modified()?.duration_since(UNIX_EPOCH)?;
                self.contents.push(Content { bytes: fs::read(entry.path())?, modified });
            }
            self.files.insert(name, file);
        }
        Ok(())
    }

    /// The store after a cut at the end of `records`. `aged` says by how much all files were made
    /// older, and at which offset of the journal.
    pub(super) fn after_cut(
        &self,
        records: &[Record],
        aged: &[(u64, Duration)],
        model: Model,
        aftermath: Aftermath,
        random: &mut Random,
    ) -> Disk {
        let mut disk = self.clone();
        let steps = disk.follow(records, model);
        let age = |at: u64| aged.iter().filter(|aged| aged.0 >= at).map(|aged| aged.1).sum();
        for content in &mut disk.contents {
            content.modified = content.modified.saturating_sub(age(0));
        }
        disk.names(&steps, model, aftermath, random);
        disk.bytes(&steps, &age, aftermath, random);
        disk
    }

    /// Finds the file of each event, and the final state of each event.
    fn follow<'a>(&mut self, records: &'a [Record], model: Model) -> Vec<Step<'a>> {
        let mut steps: Vec<Step<'a>> = Vec::new();
        let mut names = self.files.clone();
        let mut inodes = self.inodes.clone();
        for record in records {
            let mut file = None;
            match &record.event {
                Event::Create { path, inode } => {
                    self.contents.push(Content::default());
                    let new = self.contents.len() - 1;
                    inodes.insert(*inode, new);
                    names.insert(path.clone(), new);
                    file = Some(new);
                }
                Event::Truncate { inode, .. } | Event::Write { inode, .. } => {
                    file = inodes.get(inode).copied();
                }
                Event::Rename { from, to } => {
                    file = names.remove(from);
                    file.map(|file| names.insert(to.clone(), file));
                }
                Event::Link { from, to } => {
                    file = names.get(from).copied();
                    file.map(|file| names.insert(to.clone(), file));
                }
                Event::Unlink { path } => file = names.remove(path),
                Event::FlushAll { begun } => settle(&mut steps, *begun, State::Durable, |_| true),
                Event::FlushFile { inode, begun } => {
                    let file = inodes.get(inode).copied();
                    settle(&mut steps, *begun, State::Durable, |step| match is_data(step) {
                        true => step.file == file,
                        false => model == Model::Ordered,
                    });
                }
                Event::FlushDirectory { path, begun } => {
                    settle(&mut steps, *begun, State::Durable, |step| {
                        let ordered = model == Model::Ordered;
                        !is_data(step) && (ordered || directories(step).contains(&path.as_str()))
                    });
                }
                Event::LoseAll => settle(&mut steps, record.at, State::Lost, is_data),
                Event::LoseFile { inode } => {
                    let file = inodes.get(inode).copied();
                    let is_lost = |step: &Step<'_>| is_data(step) && step.file == file;
                    settle(&mut steps, record.at, State::Lost, is_lost);
                }
                Event::MakeDirectory { .. } | Event::RemoveDirectory { .. } => {}
            }
            steps.push(Step { record, file, state: State::Pending });
        }
        steps
    }

    fn names(
        &mut self,
        steps: &[Step<'_>],
        model: Model,
        aftermath: Aftermath,
        random: &mut Random,
    ) {
        let chance = match aftermath {
            Aftermath::NamesOnly => 1.0,
            Aftermath::Nothing => 0.0,
            Aftermath::Some => random.fraction().sqrt(),
        };
        // Directories that keep no later change; "" stands for all in the ordered model.
        let mut stopped = BTreeSet::new();
        for step in steps.iter().filter(|step| !is_data(step)) {
            let directories = match model {
                Model::Ordered => vec!["/"],
                Model::Loose => directories(step),
            };
            // A few long runs rather than many short ones, so most of a store survives, or is gone.
            let happens = step.state == State::Durable
                || is_root(step)
                || !directories.iter().any(|directory| stopped.contains(directory))
                    && (chance == 1.0 || chance > 0.0 && random.fraction() < 0.9 + chance / 10.0);
            if !happens {
                stopped.extend(directories);
                continue;
            }
            match (&step.record.event, step.file) {
                (Event::Create { path, .. }, Some(file)) => {
                    self.files.insert(path.clone(), file);
                }
                (Event::Rename { from, to }, Some(file)) => {
                    if self.files.get(from) == Some(&file) {
                        self.files.remove(from);
                    }
                    self.files.insert(to.clone(), file);
                }
                (Event::Link { to, .. }, Some(file)) => {
                    self.files.insert(to.clone(), file);
                }
                (Event::Unlink { path }, _) => {
                    self.files.remove(path);
                }
                (Event::MakeDirectory { path }, _) => {
                    self.directories.insert(path.clone());
                }
                (Event::RemoveDirectory { path }, _) => {
                    self.directories.remove(path);
                }
                _ => {}
            }
        }
    }

    fn bytes(
        &mut self,
        steps: &[Step<'_>],
        age: &dyn Fn(u64) -> Duration,
        aftermath: Aftermath,
        random: &mut Random,
    ) {
        // The fate of the pending contents is chosen once for each file.
        let mut fates: BTreeMap<usize, usize> = BTreeMap::new();
        for step in steps.iter().filter(|step| is_data(step)) {
            let Some(file) = step.file else { continue };
            let is_lost = step.state == State::Lost;
            let fate = match step.state {
                State::Durable => KEPT,
                _ => *fates.entry(file).or_insert_with(|| match aftermath {
                    Aftermath::Some => random.below(if is_lost { KEPT } else { KEPT + 1 }),
                    _ => DROPPED,
                }),
            };
            let content = &mut self.contents[file];
            content.modified = step.record.time.saturating_sub(age(step.record.at));
            match &step.record.event {
                Event::Truncate { size, .. } if fate != DROPPED => {
                    content.bytes.resize(*size as usize, 0);
                }
                Event::Write { offset, bytes, .. } => {
                    let length = match fate {
                        DROPPED => continue,
                        CUT_SHORT => random.below(bytes.len()),
                        _ => bytes.len(),
                    };
                    let begin = *offset as usize;
                    let end = begin + length;
                    content.bytes.resize(content.bytes.len().max(end), 0);
                    match fate {
                        ZEROS => content.bytes[begin..end].fill(0),
                        _ => content.bytes[begin..end].copy_from_slice(&bytes[..length]),
                    }
                }
                _ => {}
            }
        }
    }

    /// Writes the store to disk, in place of the directory.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        match fs::remove_dir_all(root) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let is_there = |path: &str| {
            let parents = path.match_indices('/').map(|(end, _)| &path[..end]);
            parents.chain([""]).all(|parent| self.directories.contains(parent))
        };
        for directory in self.directories.iter().filter(|directory| is_there(directory)) {
            fs::create_dir(root.join(directory))?;
        }
        let mut written: BTreeMap<usize, &str> = BTreeMap::new();
        for (path, file) in self.files.iter().filter(|(path, _)| is_there(path)) {
            let target = root.join(path);
            if let Some(first) = written.get(file) {
                fs::hard_link(root.join(first), target)?;
                continue;
            }
            let content = &self.contents[*file];
            fs::write(&target, &content.bytes)?;
            set_modified(&target, UNIX_EPOCH + content.modified)?;
            written.insert(*file, path);
        }
        Ok(())
    }
}

/// The fates of unflushed contents. KEPT is the last; lost contents cannot have it.
const DROPPED: usize = 0;
const CUT_SHORT: usize = 1;
const ZEROS: usize = 2;
const KEPT: usize = 3;

pub(super) fn set_modified(path: &Path, time: SystemTime) -> Result<()> {
    Ok(File::options().write(true).open(path)?.set_modified(time)?)
}

/// Sets the state of the pending steps before the offset `begun` for which `applies` holds.
fn settle(steps: &mut [Step<'_>], begun: u64, state: State, applies: impl Fn(&Step<'_>) -> bool) {
    for step in steps.iter_mut() {
        if step.record.at < begun && step.state == State::Pending && applies(step) {
            step.state = state;
        }
    }
}

fn is_data(step: &Step<'_>) -> bool {
    matches!(step.record.event, Event::Write { .. } | Event::Truncate { .. })
}

/// The store's own directory. The parent is not part of the store.
fn is_root(step: &Step<'_>) -> bool {
    matches!(&step.record.event, Event::MakeDirectory { path } if path.is_empty())
}

/// The directories in which an event changes names.
fn directories<'a>(step: &Step<'a>) -> Vec<&'a str> {
    fn parent(path: &str) -> &str {
        path.rsplit_once('/').map_or("", |(parent, _)| parent)
    }
    match &step.record.event {
        Event::Create { path, .. }
        | Event::Unlink { path }
        | Event::MakeDirectory { path }
        | Event::RemoveDirectory { path } => vec![parent(path)],
        Event::Link { to, .. } => vec![parent(to)],
        Event::Rename { from, to } if parent(from) == parent(to) => vec![parent(to)],
        Event::Rename { from, to } => vec![parent(from), parent(to)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events that write a file under another name and rename it, with or without flushes.
    fn journal(events: Vec<Event>) -> Vec<Record> {
        let record = |(number, event)| Record { at: number as u64, time: Duration::ZERO, event };
        events.into_iter().enumerate().map(record).collect()
    }

    fn written(path: &str, inode: u64) -> [Event; 2] {
        [
            Event::Create { path: path.to_owned(), inode },
            Event::Write { inode, offset: 0, bytes: b"content".to_vec() },
        ]
    }

    /// The bytes of the file `file` after a cut, if it survives, in all aftermaths.
    fn after(model: Model, events: Vec<Event>) -> BTreeSet<Option<Vec<u8>>> {
        let base = Disk { directories: BTreeSet::from([String::new()]), ..Disk::default() };
        let records = journal(events);
        let mut random = Random::new("disk tests");
        let mut left = BTreeSet::new();
        for aftermath in [Aftermath::NamesOnly, Aftermath::Nothing, Aftermath::Some] {
            for _ in 0..50 {
                let disk = base.after_cut(&records, &[], model, aftermath, &mut random);
                let file = disk.files.get("file");
                left.insert(file.map(|file| disk.contents[*file].bytes.clone()));
            }
        }
        left
    }

    fn whole() -> Option<Vec<u8>> {
        Some(b"content".to_vec())
    }

    #[test]
    fn contents_that_were_not_flushed_are_absent_or_torn() {
        for model in [Model::Ordered, Model::Loose] {
            let left = after(model, written("file", 1).into());
            assert!(left.contains(&None) && left.contains(&Some(Vec::new())), "{left:?}");
            assert!(left.contains(&Some(vec![0; 7])) && left.contains(&whole()), "{left:?}");
        }
    }

    #[test]
    fn a_flush_of_everything_keeps_everything_that_began_before_it() {
        for model in [Model::Ordered, Model::Loose] {
            let mut events = Vec::from(written("file", 1));
            events.push(Event::FlushAll { begun: 2 });
            assert_eq!(after(model, events.clone()), BTreeSet::from([whole()]));
            events[2] = Event::FlushAll { begun: 1 };
            assert!(after(model, events).contains(&Some(Vec::new())));
        }
    }

    #[test]
    fn a_rename_after_the_flush_of_the_file_leaves_no_torn_file() {
        let mut events = Vec::from(written("file#1", 1));
        events.push(Event::FlushFile { inode: 1, begun: 2 });
        events.push(Event::Rename { from: "file#1".into(), to: "file".into() });
        for model in [Model::Ordered, Model::Loose] {
            assert_eq!(after(model, events.clone()), BTreeSet::from([None, whole()]));
        }
        events.push(Event::FlushDirectory { path: String::new(), begun: 4 });
        assert_eq!(after(Model::Loose, events), BTreeSet::from([whole()]));
    }

    #[test]
    fn the_flush_of_a_file_keeps_its_name_only_in_the_ordered_model() {
        let mut events = Vec::from(written("file", 1));
        events.push(Event::FlushFile { inode: 1, begun: 2 });
        assert_eq!(after(Model::Ordered, events.clone()), BTreeSet::from([whole()]));
        assert!(after(Model::Loose, events).contains(&None));
    }

    #[test]
    fn no_later_flush_brings_back_what_a_failed_one_has_lost() {
        for lost in [Event::LoseAll, Event::LoseFile { inode: 1 }] {
            let mut events = Vec::from(written("file", 1));
            events.push(lost);
            events.push(Event::FlushAll { begun: 3 });
            let left = after(Model::Ordered, events);
            assert!(!left.contains(&whole()) && !left.contains(&None), "{left:?}");
        }
    }

    #[test]
    fn a_delete_that_was_not_flushed_may_not_have_happened() {
        let mut events = Vec::from(written("file", 1));
        events.push(Event::FlushAll { begun: 2 });
        events.push(Event::Unlink { path: "file".into() });
        for model in [Model::Ordered, Model::Loose] {
            assert_eq!(after(model, events.clone()), BTreeSet::from([None, whole()]));
        }
    }
}
