//! The listing of a store that has directories (WebDAV): a walk with one request for each
//! directory.
//!
//! `object_store` asks such a server for everything below a directory at once. Some servers refuse
//! that. Some answer as if only one level was requested, which looks like an empty store. And the
//! answer of a large store does not fit into memory.

use std::collections::VecDeque;
use std::time::SystemTime;

use futures_util::stream::{self, BoxStream, FuturesUnordered};
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use object_store::path::Path;
use object_store::{ListResult, Result as StoreResult};

use crate::error::Broken;
use crate::objects::answer::{note, noting};
use crate::objects::meta::{Entry, Stray};
use crate::objects::remote::{Remote, within};
use crate::objects::remote_list::PAGE_TIME;
use crate::objects::walk::{Enters, shown};

/// How many directories are requested at once.
const AT_ONCE: usize = 16;

struct Walk {
    remote: Remote,
    enters: Enters,
    /// Directories that are not requested yet.
    waiting: Vec<Path>,
    under_way: FuturesUnordered<BoxFuture<'static, StoreResult<Vec<Found>>>>,
    found: VecDeque<Entry>,
}

/// A member of a directory.
enum Found {
    Directory(Path),
    Object(Entry),
}

/// Lists the objects under `prefix`, in no order. The walk enters the directories that `enters`
/// accepts, and reports every other one as a stray.
pub(super) fn walk(
    remote: Remote,
    prefix: Path,
    enters: Enters,
) -> BoxStream<'static, StoreResult<Entry>> {
    let first = list(remote.clone(), prefix, false).boxed();
    let under_way = FuturesUnordered::from_iter([first]);
    let walk = Walk { remote, enters, waiting: Vec::new(), under_way, found: VecDeque::new() };
    stream::try_unfold(walk, async |mut walk| Ok(walk.next().await?.map(|entry| (entry, walk))))
        .boxed()
}

impl Walk {
    async fn next(&mut self) -> StoreResult<Option<Entry>> {
        loop {
            if let Some(entry) = self.found.pop_front() {
                return Ok(Some(entry));
            }
            while self.under_way.len() < AT_ONCE
                && let Some(directory) = self.waiting.pop()
            {
                self.under_way.push(list(self.remote.clone(), directory, true).boxed());
            }
            let Some(members) = self.under_way.next().await else { return Ok(None) };
            for member in members? {
                match member {
                    Found::Directory(path) if (self.enters)(path.as_ref()) => {
                        self.waiting.push(path);
                    }
                    Found::Directory(path) => {
                        let modified = SystemTime::UNIX_EPOCH;
                        let key = shown(path.as_ref());
                        self.found.push_back(Entry::Stray(Stray { key, size: 0, modified }));
                    }
                    Found::Object(entry) => self.found.push_back(entry),
                }
            }
        }
    }
}

/// The members of a directory. A directory that its parent has listed (`is_listed`) exists: an
/// answer to the contrary is an error, because it would hide everything below.
async fn list(remote: Remote, directory: Path, is_listed: bool) -> StoreResult<Vec<Found>> {
    let attempt = |_| {
        let listed = remote.store.list_with_delimiter(Some(&directory));
        let limited = within(remote.limit(PAGE_TIME), listed);
        async move {
            let (listed, status) = noting(limited).await;
            status.inspect(|status| note(*status));
            match status {
                Some(404) if is_listed => Err(Broken::Vanished.into()),
                _ => listed,
            }
        }
    };
    let ListResult { common_prefixes, objects, .. } =
        remote.persist(None, |_| false, attempt).await?;
    // A server may answer with more than the request asks for.
    let is_member = |path: &Path| {
        path.prefix_match(&directory)
            .is_some_and(|mut parts| parts.next().is_some() && parts.next().is_none())
    };
    let directories = common_prefixes.into_iter().filter(is_member).map(Found::Directory);
    let objects = objects.into_iter().filter(|object| is_member(&object.location));
    let objects = objects.map(|object| Found::Object(Entry::Object(object.into())));
    Ok(directories.chain(objects).collect())
}
