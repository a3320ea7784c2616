//! Which store: from the command line, the environment, or the platform.

use castore_core::{BlobIndex, BlobReader, BlobService, Digest};
use castore_objstore::{ObjectStoreBlobService, local_path, parse_url_opts};
use etcetera::BaseStrategy;

use crate::failure::{Failure, NO_BLOB, NO_STORE, Result, USAGE, say};
use crate::output::shown;

/// The fewest digits that a digest may be cut to.
const SHORTEST_PREFIX: usize = 8;

/// The store that a command was given, not opened yet.
#[derive(Debug)]
pub(crate) struct Location {
    url: String,
    options: Vec<(String, String)>,
    /// Whether what is reused is verified.
    check: bool,
}

impl Location {
    pub(crate) fn new(store: Option<String>, options: Vec<(String, String)>) -> Result<Location> {
        let url = match store {
            Some(url) => url,
            None => {
                let strategy = etcetera::choose_base_strategy().map_err(|error| {
                    let message =
                        format!("there is no home directory ({error}); name a store with -s");
                    Failure::new(USAGE, message)
                })?;
                strategy.data_dir().join("castore").to_string_lossy().into_owned()
            }
        };
        Ok(Location { url, options, check: false })
    }

    /// The same; what is in the store already is verified where `check` says so.
    pub(crate) fn checking(self, check: bool) -> Location {
        Location { check, ..self }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Opens the store to read from; a directory must be there.
    pub(crate) fn open(&self) -> Result<ObjectStoreBlobService> {
        if let Some(path) = local_path(&self.url)?
            && !path.exists()
        {
            let path = shown(&path);
            let message = format!("no store at {path}; `castore -s {path} put FILE` makes one");
            return Err(Failure::new(NO_STORE, message));
        }
        self.build(false)
    }

    /// Opens the store to write to; a directory is made where there is none.
    pub(crate) fn open_or_create(&self, quiet: bool) -> Result<ObjectStoreBlobService> {
        let missing = local_path(&self.url)?.filter(|path| !path.exists());
        let service = self.build(missing.is_some())?;
        if let Some(path) = missing
            && !quiet
        {
            say(format_args!("castore: made a new store at {}", shown(&path)));
        }
        Ok(service)
    }

    fn build(&self, create: bool) -> Result<ObjectStoreBlobService> {
        if let Some(path) = local_path(&self.url)?
            && path.exists()
            && !path.is_dir()
        {
            let message = format!("no store at {}: it is not a directory", shown(&path));
            return Err(Failure::new(NO_STORE, message));
        }
        let options = self.options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut builder = parse_url_opts(&self.url, options)?.check_reused(self.check);
        if create {
            builder = builder.create(true);
        }
        Ok(builder.build()?)
    }
}

/// The digest that `text` is, or is the start of.
pub(crate) async fn resolve(service: &ObjectStoreBlobService, text: &str) -> Result<Digest> {
    let malformed = match text.parse::<Digest>() {
        Ok(digest) => return Ok(digest),
        Err(error) => error,
    };
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hexadecimal || text.len() > 2 * Digest::LEN {
        return Err(Failure::new(USAGE, format!("{text:?} is not a digest: {malformed}")));
    }
    if text.len() < SHORTEST_PREFIX {
        let message = format!("{text:?} is too short; give {SHORTEST_PREFIX} digits or more");
        return Err(Failure::new(USAGE, message));
    }
    match service.find(text).await?.as_slice() {
        [] => Err(absent(service, text).await),
        [digest] => Ok(*digest),
        several => {
            let list: Vec<String> = several.iter().take(5).map(Digest::to_string).collect();
            let list = list.join(", ");
            let message = format!("{text} is the start of {} digests: {list}", several.len());
            Err(Failure::new(USAGE, message))
        }
    }
}

pub(crate) async fn chunks(service: &ObjectStoreBlobService, digest: &Digest) -> Result<BlobIndex> {
    match service.chunks(digest).await? {
        Some(index) => Ok(index),
        None => Err(absent(service, digest).await),
    }
}

pub(crate) async fn open_read(
    service: &ObjectStoreBlobService,
    digest: &Digest,
) -> Result<BlobReader> {
    match service.open_read(digest).await? {
        Some(reader) => Ok(reader),
        None => Err(absent(service, digest).await),
    }
}

/// A blob that is absent; unless it is the store, which looks alike on S3.
pub(crate) async fn absent(
    service: &ObjectStoreBlobService,
    digest: impl std::fmt::Display,
) -> Failure {
    match service.check().await {
        Ok(()) => Failure::new(NO_BLOB, format!("no blob {digest} in the store")),
        Err(error) => error.into(),
    }
}
