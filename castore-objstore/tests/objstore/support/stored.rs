//! A blob in a store, for tests to damage.

use bytes::Bytes;
use castore_core::groups::GROUP_SIZE;
use castore_core::{BlobIndex, BlobService, Digest, Error, ErrorKind};
use castore_objstore::{ObjectStoreBlobService, Verify};
use object_store::path::Path;

use super::data::{random, tiny};
use super::probe::Probe;
use super::service::{
    builder, chunk_key, collect_until_error, index_key, put, read_until_error, service_with,
};

/// How the store lists a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Many chunks.
    Many,
    /// One chunk, in an index of one entry.
    One,
    /// One chunk, and an index without entries.
    OneUnlisted,
}

pub(crate) const SHAPES: [Shape; 3] = [Shape::Many, Shape::One, Shape::OneUnlisted];

pub(crate) struct Stored {
    pub(crate) probe: Probe,
    pub(crate) data: Bytes,
    pub(crate) digest: Digest,
    pub(crate) index: BlobIndex,
    pub(crate) shape: Shape,
    /// The position of the chunk that tests damage.
    pub(crate) bad: usize,
}

impl Stored {
    pub(crate) async fn new(shape: Shape) -> Stored {
        let size = if shape == Shape::Many { 20_000 } else { tiny().min_size() };
        let stored = Stored::of(random("stored", size), shape).await;
        assert_eq!(stored.index.len() == 1, shape != Shape::Many);
        stored
    }

    pub(crate) async fn of(data: Bytes, shape: Shape) -> Stored {
        let probe = Probe::new();
        let service = service_with(&probe, tiny());
        let digest = put(&service, &data).await;
        let index = service.chunks(&digest).await.unwrap().unwrap();
        match shape {
            Shape::Many | Shape::One => {}
            Shape::OneUnlisted => probe.overwrite(&index_key(&digest), Bytes::new()).await,
        }
        let bad = index.len() / 2;
        Stored { probe, data, digest, index, shape, bad }
    }

    /// A new service that knows nothing yet of the store's objects.
    pub(crate) fn service(&self) -> ObjectStoreBlobService {
        service_with(&self.probe, tiny())
    }

    pub(crate) fn bad_key(&self) -> Path {
        chunk_key(&self.index.get(self.bad).unwrap().digest)
    }

    pub(crate) fn index_key(&self) -> Path {
        index_key(&self.digest)
    }

    pub(crate) async fn assert_good(&self) {
        let (read, error) = read_until_error(&self.service(), &self.digest).await;
        assert!(error.is_none(), "{:?}: {error:?}", self.shape);
        assert_eq!(read, self.data);
    }

    /// Checks that every way to read the bad chunk returns the bytes before it and then a
    /// corruption error, and that the other chunks can still be read by a service that does not ask
    /// for the proof of their groups. With that proof, the good bytes end where the group of the
    /// bad chunk begins.
    pub(crate) async fn assert_chunk_is_corrupt(&self) {
        let bad = self.index.chunk_range(self.bad).unwrap();
        let read = read_until_error(&self.service(), &self.digest).await;
        self.assert_corrupt_at(read, 0, bad.start / GROUP_SIZE * GROUP_SIZE);
        let service = builder(&self.probe).chunk_params(tiny()).verify(Verify::Chunks);
        let service = service.build().unwrap();
        let read = read_until_error(&service, &self.digest).await;
        self.assert_corrupt_at(read, 0, bad.start);

        match service.chunks(&self.digest).await {
            Ok(index) => assert_eq!(index.as_ref(), Some(&self.index)),
            Err(error) => {
                assert_eq!(self.shape, Shape::OneUnlisted, "{error:?}");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            }
        }
        let reader = match service.open_read(&self.digest).await {
            Ok(reader) => reader.unwrap(),
            // Opening the reader already fetches the only chunk.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                assert_ne!(self.shape, Shape::Many);
                return;
            }
        };
        let size = self.index.size();
        for range in [0..size, 0..bad.start + 1, bad.start..bad.end, bad.end - 1..size] {
            let read = collect_until_error(reader.read_range(range.clone())).await;
            let good_until = bad.start.max(range.start);
            self.assert_corrupt_at(read, range.start, good_until);
        }
        for range in [0..bad.start, bad.end..size] {
            let (read, error) = collect_until_error(reader.read_range(range.clone())).await;
            assert!(error.is_none(), "{error:?}");
            assert_eq!(read, self.data[range.start as usize..range.end as usize]);
        }
    }

    fn assert_corrupt_at(&self, read: (Vec<u8>, Option<Error>), start: u64, good_until: u64) {
        let (bytes, error) = read;
        let error = error.unwrap_or_else(|| panic!("{:?}: there is no error", self.shape));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{:?}: {error:?}", self.shape);
        assert!(error.digest().is_some(), "{error:?}");
        assert_eq!(bytes, self.data[start as usize..good_until as usize], "{:?}", self.shape);
    }

    /// Checks that every way to read the whole blob fails as corrupt, and returns no wrong byte.
    pub(crate) async fn assert_corrupt(&self) {
        for (bytes, error) in self.read_whole().await {
            let error = error.expect("there is an error");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            assert!(bytes.len() < self.data.len());
            assert_eq!(bytes, self.data[..bytes.len()]);
        }
    }

    /// Checks that every way to get the index fails as corrupt.
    pub(crate) async fn assert_index_is_corrupt(&self) {
        let service = self.service();
        let error = service.chunks(&self.digest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert_eq!(error.digest(), Some(self.digest));
        let error = service.open_read(&self.digest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert_eq!(error.digest(), Some(self.digest));
    }

    /// The results of each way to read the whole blob, each by a new service.
    pub(crate) async fn read_whole(&self) -> Vec<(Vec<u8>, Option<Error>)> {
        let mut all = vec![read_until_error(&self.service(), &self.digest).await];
        if let Ok(Some(reader)) = self.service().open_read(&self.digest).await {
            all.push(collect_until_error(reader.read_range(0..reader.size())).await);
        }
        all
    }
}
