//! The table of checks, in the order in which they run, with the operations that need them.

use futures_util::future::BoxFuture;

use super::fault::Finding;
use super::{Examination, copies, deletes, directory, listing, load, objects, times};

/// An operation of castore. A store may be fit for some operations and not for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Storing blobs.
    Put,
    /// Reading blobs.
    Get,
    /// Listing the blobs, and finding one by the start of its digest.
    List,
    /// Removing blobs.
    Remove,
    /// Verifying the store.
    Verify,
    /// Collecting garbage.
    Gc,
    /// Repairing the store.
    Repair,
    /// Copying all blobs to or from another store.
    Copy,
}

impl Operation {
    /// All operations.
    pub const ALL: [Operation; 8] = [PUT, GET, LIST, REMOVE, VERIFY, GC, REPAIR, COPY];

    /// The name of the operation's command: `put`, `get`, `ls`, `rm`, `verify`, `gc`, `repair`,
    /// `copy`.
    pub fn name(self) -> &'static str {
        match self {
            PUT => "put",
            GET => "get",
            LIST => "ls",
            REMOVE => "rm",
            VERIFY => "verify",
            GC => "gc",
            REPAIR => "repair",
            COPY => "copy",
        }
    }
}

const PUT: Operation = Operation::Put;
const GET: Operation = Operation::Get;
const LIST: Operation = Operation::List;
const REMOVE: Operation = Operation::Remove;
const VERIFY: Operation = Operation::Verify;
const GC: Operation = Operation::Gc;
const REPAIR: Operation = Operation::Repair;
const COPY: Operation = Operation::Copy;

const ALL: &[Operation] = &Operation::ALL;
const WRITE: &[Operation] = &[PUT, GC, REPAIR, COPY];
const READ: &[Operation] = &[PUT, GET, LIST, VERIFY, GC, REPAIR, COPY];
const LISTS: &[Operation] = &[LIST, VERIFY, GC, REPAIR, COPY];
const NONE: &[Operation] = &[];

/// The kinds of store that a check applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Any,
    /// A directory, through castore's own client.
    Directory,
    /// Any store except a directory.
    ObjectStore,
}

/// One check.
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) group: &'static str,
    /// The ability that a passed check proves.
    pub(super) promise: &'static str,
    pub(super) stores: For,
    /// The operations that fail, or lose data, if the check fails.
    pub(super) needed_by: &'static [Operation],
    /// The operations that still work if the check fails, but not as well.
    pub(super) helps: &'static [Operation],
    /// The checks that must pass before this one makes sense.
    pub(super) after: &'static [&'static str],
    pub(super) run: for<'a> fn(&'a Examination<'a>) -> BoxFuture<'a, Finding>,
}

/// Defines the table of checks, in the order in which they run. If an early check fails, later ones
/// are skipped and give that failure as the reason.
macro_rules! checks {
    ($(group $group:literal: $($name:literal, $promise:literal, $stores:expr,
        needed by $needed_by:expr, helps $helps:expr, after [$($after:literal),*], $run:expr;)+)+) => {
        pub(super) const CHECKS: &[Definition] = &[$($(Definition {
            name: $name,
            group: $group,
            promise: $promise,
            stores: $stores,
            needed_by: $needed_by,
            helps: $helps,
            after: &[$($after),*],
            run: |examination| Box::pin($run(examination)),
        },)+)+];
    };
}

checks! {
    group "objects":
    "absent", "an absent object is told as absent", For::Any,
        needed by ALL, helps NONE, after [], objects::absent;
    "put", "an object can be put", For::Any,
        needed by WRITE, helps NONE, after [], objects::put;
    "get", "what was put is there at once, whole, and also where it was absent a moment ago", For::Any,
        needed by READ, helps NONE, after ["put"], objects::get;
    "head", "HEAD tells the size", For::Any,
        needed by ALL, helps NONE, after ["put"], objects::head;
    "empty", "an object may be empty", For::Any,
        needed by &[PUT, GC, COPY], helps NONE, after ["get"], objects::empty;
    "range", "a part of an object can be read by itself", For::Any,
        needed by &[GET, VERIFY, REPAIR, COPY], helps NONE, after ["get"], objects::range;
    "large", "an object of some megabytes can be put in one request", For::Any,
        needed by READ, helps NONE, after ["get"], objects::large;
    "keys", "castore's keys stay as they are", For::Any,
        needed by READ, helps NONE, after ["get"], objects::keys;
    "overwrite", "a new object replaces the old one at once", For::Any,
        needed by WRITE, helps NONE, after ["get"], objects::overwrite;
    "whole", "a reader sees the old object or the new one, and never a mixture", For::Any,
        needed by READ, helps NONE, after ["get"], objects::whole;

    group "deletes":
    "delete", "a deleted object is gone at once", For::Any,
        needed by &[REMOVE, GC, REPAIR], helps NONE, after ["get"], deletes::delete;
    "delete-absent", "deleting an absent object does no harm", For::Any,
        needed by &[REMOVE, GC, REPAIR], helps NONE, after ["delete"], deletes::absent;
    "put-again", "an object that was deleted can be put again", For::Any,
        needed by &[REMOVE, GC, REPAIR], helps NONE, after ["delete"], deletes::again;

    group "load":
    "parallel", "many requests at once are answered", For::Any,
        needed by NONE, helps READ, after ["get", "delete"], load::parallel;

    group "listing":
    "list", "a listing shows what is there at once, with its size, and nothing else", For::Any,
        needed by LISTS, helps &[GET], after ["put"], listing::list;
    "complete", "a listing of several pages holds every object once", For::Any,
        needed by LISTS, helps NONE, after ["list", "delete"], listing::complete;
    "offset", "a listing can go on after any key", For::ObjectStore,
        needed by LISTS, helps NONE, after ["complete"], listing::offset;
    "order", "a listing is in the order of the keys", For::ObjectStore,
        needed by NONE, helps LISTS, after ["complete"], listing::order;
    "list-deleted", "a listing does not show what was deleted", For::Any,
        needed by &[LIST, GC], helps NONE, after ["list", "delete"], listing::deleted;

    group "copies":
    "copy", "a copy is whole and there when the request is answered", For::Any,
        needed by &[GC, REPAIR], helps NONE, after ["get"], copies::copy;
    "copy-absent", "copying an absent object fails", For::Any,
        needed by &[GC, REPAIR], helps NONE, after ["copy"], copies::absent;

    group "times":
    "renewed", "an object that is put again has a new time", For::Any,
        needed by &[GC], helps NONE, after ["put"], times::renewed;
    "forward", "the store's clock goes forward, and at the right speed", For::Any,
        needed by &[GC], helps NONE, after ["put"], times::forward;
    "same-time", "HEAD and listings tell the same time", For::Any,
        needed by &[GC], helps NONE, after ["list"], times::same;
    "clock", "the store's clock is that of this machine", For::Any,
        needed by NONE, helps &[VERIFY], after ["put"], times::clock;

    group "directory":
    "flush", "writes can be flushed to the disk", For::Directory,
        needed by WRITE, helps NONE, after ["put"], directory::flush;
    "filesystem", "the filesystem is flushed as a whole", For::Directory,
        needed by NONE, helps &[PUT], after ["put"], directory::filesystem;
    "links", "a copy is a link", For::Directory,
        needed by NONE, helps &[GC], after ["copy"], directory::links;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_comes_after_those_that_it_needs_and_has_a_name_of_its_own() {
        for (number, check) in CHECKS.iter().enumerate() {
            let earlier = || CHECKS[..number].iter().map(|check| check.name);
            assert!(earlier().all(|name| name != check.name), "{}", check.name);
            for after in check.after {
                assert!(earlier().any(|name| name == *after), "{}: {after}", check.name);
            }
            assert!(check.needed_by.iter().all(|need| !check.helps.contains(need)));
        }
    }

    #[test]
    fn every_operation_needs_something() {
        for operation in Operation::ALL {
            assert!(CHECKS.iter().any(|check| check.needed_by.contains(&operation)));
        }
    }
}
