//! One actor's view of the store: an object store in which each request waits for the schedule.

use std::fmt;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::store::{Answer, What, World, failed};

pub(super) struct Store {
    pub(super) world: World,
    pub(super) actor: &'static str,
}

impl Store {
    async fn request(&self, what: What) -> Result<Answer> {
        self.world.request(self.actor, what).await
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.actor)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.actor)
    }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, path: &Path, bytes: PutPayload, _: PutOptions) -> Result<PutResult> {
        self.request(What::Put(path.clone(), bytes.into())).await?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(failed())
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let path = path.clone();
        let what = if options.head { What::Head(path) } else { What::Get(path) };
        let Answer::Object(meta, bytes) = self.request(what).await? else { return Err(failed()) };
        Ok(GetResult {
            range: 0..meta.size,
            meta,
            payload: GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed()),
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (world, actor) = (self.world.clone(), self.actor);
        paths
            .and_then(move |path| {
                let world = world.clone();
                async move {
                    world.request(actor, What::Delete(path.clone())).await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        let (world, actor) = (self.world.clone(), self.actor);
        let page = world.page_size();
        let pages = stream::try_unfold(Some(None), move |offset| {
            let (world, prefix) = (world.clone(), prefix.clone());
            async move {
                let Some(offset) = offset else { return Ok(None) };
                let Answer::Page(objects) =
                    world.request(actor, What::List(prefix, offset)).await?
                else {
                    return Err(failed());
                };
                let last = objects.last().filter(|_| objects.len() == page);
                let next = last.map(|last| Some(last.location.clone()));
                Ok(Some((stream::iter(objects.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(failed())
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        self.request(What::Copy(from.clone(), to.clone())).await?;
        Ok(())
    }
}
