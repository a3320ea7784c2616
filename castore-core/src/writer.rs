//! Writing a blob: the small trait that a backend implements, and the writer that people use.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::lock::Mutex;
use tokio::io::AsyncWrite;

use crate::{Digest, Error, ErrorKind, Result};

/// The part of a writer that a backend implements: to take the bytes of one blob, and to publish
/// it.
///
/// [`BlobWriter`] keeps the protocol, and a sink may rely on it:
///
/// - Calls come one after another. A call starts only when the future of the last one has ended or
///   was dropped.
/// - `write` comes any number of times, with any number of bytes but zero, then `close` at most
///   once. After `close` was called, or a `write` has failed or its future was dropped, the only
///   call that may follow is `abort`.
/// - The future of `write` or `close` may be dropped at any point where it waits: then `abort`
///   follows, or the sink is dropped.
/// - `abort` is called at most once, as the last call: also after a failure, and after the future
///   of `close` was dropped. `abort` is not called after `close` has succeeded. The future of
///   `abort` may be dropped together with the sink.
///
/// A sink that is dropped without a successful `close` publishes nothing more from then on. The
/// sink of a failed writer is kept until the writer is aborted or dropped, so it should let go of
/// memory and other shares when it fails.
#[async_trait]
pub trait BlobSink: Send + 'static {
    /// Takes the next bytes of the blob. Waiting here is how a slow store slows a writer down.
    async fn write(&mut self, data: Bytes) -> Result<()>;

    /// Publishes the blob, and returns its digest once the blob is there to stay.
    ///
    /// The sink makes every chunk safe before the index that lists it, also the chunks that were
    /// there already. Work that goes on in tasks has to be reachable from the sink, not only from
    /// this future: after this future was dropped, `abort` still has to end it.
    async fn close(&mut self) -> Result<Digest>;

    /// Gives the blob up, and returns once no task of the blob runs any more: after that, nothing
    /// that belongs to the blob is stored or published. A dropped `close` that had not begun to
    /// write its commit record does not publish the blob; one that had leaves the blob absent or
    /// whole.
    async fn abort(&mut self) {}

    /// How many bytes the sink likes to be given at once; small writes are gathered up to that.
    fn preferred_write_size(&self) -> usize {
        64 * 1024
    }
}

/// The sink, and a step that holds its lock while it runs. A step that is dropped gives the lock
/// back, so that `abort` reaches the sink while a write or a close is pending. Nothing ever waits
/// for it.
type Sink = Arc<Mutex<Box<dyn BlobSink>>>;
type Step<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum State {
    Open,
    Writing(Step<Result<()>>),
    Closing(Step<Result<Digest>>),
    Closed(Digest),
    Failed(Error),
}

/// A writer of one blob: `AsyncWrite`, then [`close`](BlobWriter::close), which names it.
///
/// Nothing is published before `close` is called. Dropping the writer, [`abort`](BlobWriter::abort)
/// and any failure give the blob up. After a failure every further call returns the same error;
/// writing after `close` is `InvalidInput`. `shutdown` is `close`. The blob is the same, however
/// its writing is split.
pub struct BlobWriter {
    state: State,
    /// `None` once it was closed or aborted.
    sink: Option<Sink>,
    /// The abort that was begun and has not ended.
    aborting: Option<Step<()>>,
    /// Small writes, gathered; at most `capacity` bytes.
    gathered: BytesMut,
    capacity: usize,
}

impl BlobWriter {
    /// A writer into `sink`.
    pub fn new(sink: impl BlobSink) -> BlobWriter {
        let capacity = sink.preferred_write_size().max(1);
        BlobWriter {
            state: State::Open,
            sink: Some(Arc::new(Mutex::new(Box::new(sink)))),
            aborting: None,
            gathered: BytesMut::new(),
            capacity,
        }
    }

    /// How many bytes the sink behind it likes to be given at once: a good size for what is read
    /// from elsewhere to be written here.
    pub fn preferred_write_size(&self) -> usize {
        self.capacity
    }

    /// Writes all of `data` without copying it (small pieces are gathered).
    ///
    /// Cancel safe: where the future is dropped before it is ready, nothing of `data` was taken.
    /// An error of the store may be reported by a later call, and is by `close` at the latest.
    pub async fn write_bytes(&mut self, data: Bytes) -> Result<()> {
        if self.gathered.len() + data.len() <= self.capacity / 4 {
            poll_fn(|cx| self.poll_settle(cx)).await?;
            self.gathered.extend_from_slice(&data);
            return Ok(());
        }
        poll_fn(|cx| self.poll_hand_over(cx)).await?;
        self.start_write(data);
        Ok(())
    }

    /// Publishes the blob and returns its digest; the blob is there once this returns.
    ///
    /// Calling it again returns the same digest or the same error. Cancel safe: dropped and called
    /// again, it goes on where it was.
    ///
    /// # Errors
    /// The first error of the store since the writer was opened. The blob is absent then, or whole:
    /// it may have been there before, or the store may have done what it could not confirm.
    pub async fn close(&mut self) -> Result<Digest> {
        poll_fn(|cx| self.poll_close(cx)).await
    }

    /// Gives the blob up; returns once nothing is under way any more, and nothing of the blob is
    /// stored or published after that. Later calls fail: with `InvalidInput`, or with the error
    /// that the writer had failed with.
    ///
    /// A write that is pending is cancelled, and so is a [`close`](BlobWriter::close) that was
    /// dropped before it was ready. The blob is absent then, unless the close was about to write,
    /// or had written, what makes it present: then the blob is absent or whole. A writer that was
    /// closed stays closed.
    ///
    /// Cancel safe: dropped and called again, it goes on where it was.
    pub async fn abort(&mut self) {
        if !matches!(self.state, State::Failed(_) | State::Closed(_)) {
            // This drops what is pending, and so frees the sink.
            let message = "the writer was aborted";
            self.state = State::Failed(Error::new(ErrorKind::InvalidInput, "write", message));
        }
        self.gathered = BytesMut::new();
        if let Some(sink) = self.sink.take() {
            self.aborting = Some(Box::pin(async move { sink.lock().await.abort().await }));
        }
        if let Some(step) = &mut self.aborting {
            step.as_mut().await;
            self.aborting = None;
        }
    }

    /// Starts to give `data` to the sink, where that is open and idle.
    fn start_write(&mut self, data: Bytes) {
        if let (State::Open, Some(sink), false) = (&self.state, &self.sink, data.is_empty()) {
            let sink = Arc::clone(sink);
            let write = async move { sink.lock().await.write(data).await };
            self.state = State::Writing(Box::pin(write));
        }
    }

    /// Ready once the sink is open and idle; an error where it will not be again.
    fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.state {
            State::Open => Poll::Ready(Ok(())),
            State::Writing(step) => {
                let result = ready!(step.as_mut().poll(cx));
                self.state = match &result {
                    Ok(()) => State::Open,
                    Err(error) => State::Failed(error.clone()),
                };
                Poll::Ready(result)
            }
            State::Closing(_) | State::Closed(_) => {
                let message = "the writer is closed";
                Poll::Ready(Err(Error::new(ErrorKind::InvalidInput, "write", message)))
            }
            State::Failed(error) => Poll::Ready(Err(error.clone())),
        }
    }

    /// Ready once the gathered bytes are the sink's, and the sink is idle.
    fn poll_hand_over(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            ready!(self.poll_settle(cx))?;
            if self.gathered.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let gathered = std::mem::take(&mut self.gathered).freeze();
            self.start_write(gathered);
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<Digest>> {
        loop {
            match &mut self.state {
                State::Closed(digest) => return Poll::Ready(Ok(*digest)),
                State::Failed(error) => return Poll::Ready(Err(error.clone())),
                State::Closing(step) => {
                    self.state = match ready!(step.as_mut().poll(cx)) {
                        Ok(digest) => {
                            self.sink = None;
                            State::Closed(digest)
                        }
                        Err(error) => State::Failed(error),
                    };
                }
                State::Open | State::Writing(_) => {
                    ready!(self.poll_hand_over(cx))?;
                    if let Some(sink) = self.sink.clone() {
                        let close = async move { sink.lock().await.close().await };
                        self.state = State::Closing(Box::pin(close));
                    }
                }
            }
        }
    }
}

impl AsyncWrite for BlobWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.gathered.len() >= this.capacity || !matches!(this.state, State::Writing(_)) {
            ready!(this.poll_settle(cx))?;
        }
        if this.gathered.len() >= this.capacity {
            let gathered = std::mem::take(&mut this.gathered).freeze();
            this.start_write(gathered);
        }
        let count = buf.len().min(this.capacity - this.gathered.len());
        this.gathered.extend_from_slice(&buf[..count]);
        // A pending write makes progress while the caller prepares the next bytes. The next call
        // reports its error, as this call has taken its bytes already.
        if let State::Writing(_) = this.state {
            let _ = this.poll_settle(cx);
        }
        Poll::Ready(Ok(count))
    }

    /// Hands the gathered bytes to the backend, and publishes nothing: `close` does.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let State::Closed(_) = this.state {
            return Poll::Ready(Ok(()));
        }
        this.poll_hand_over(cx).map_err(io::Error::from)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_close(cx).map_ok(|_| ()).map_err(io::Error::from)
    }
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Open => "open",
            State::Writing(_) => "writing",
            State::Closing(_) => "closing",
            State::Closed(_) => "closed",
            State::Failed(_) => "failed",
        };
        f.debug_struct("BlobWriter").field("state", &state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Recorder {
        calls: Arc<Mutex<Vec<String>>>,
        data: Arc<Mutex<Vec<u8>>>,
        /// The number of the write that fails, from 1; 0 fails none.
        fail_write: usize,
        fail_close: bool,
        /// Whether a close waits for ever.
        hang_close: bool,
        yields: bool,
    }

    impl Recorder {
        fn call(&self, call: impl Into<String>) -> usize {
            let mut calls = self.calls.lock().unwrap();
            calls.push(call.into());
            calls.len()
        }

        fn calls(&self) -> Vec<String> {
            self.calls.lock().unwrap().clone()
        }
    }

    fn broken(operation: &'static str) -> Error {
        Error::new(ErrorKind::Unavailable, operation, "it is broken")
    }

    #[async_trait]
    impl BlobSink for Recorder {
        async fn write(&mut self, data: Bytes) -> Result<()> {
            if self.yields {
                tokio::task::yield_now().await;
            }
            if self.call(format!("write {}", data.len())) == self.fail_write {
                return Err(broken("write"));
            }
            self.data.lock().unwrap().extend_from_slice(&data);
            Ok(())
        }

        async fn close(&mut self) -> Result<Digest> {
            tokio::task::yield_now().await;
            self.call("close");
            if self.hang_close {
                std::future::pending::<()>().await;
            }
            if self.fail_close {
                return Err(broken("close"));
            }
            Ok(Digest::of(&self.data.lock().unwrap()))
        }

        async fn abort(&mut self) {
            self.call("abort");
            if self.yields {
                tokio::task::yield_now().await;
                self.call("aborted");
            }
        }

        fn preferred_write_size(&self) -> usize {
            100
        }
    }

    #[tokio::test]
    async fn small_writes_are_gathered_and_none_is_lost() {
        for yields in [false, true] {
            let recorder = Recorder { yields, ..Recorder::default() };
            let mut writer = BlobWriter::new(recorder.clone());
            let data: Vec<u8> = (0..=255).collect();
            for piece in data.chunks(7) {
                writer.write_all(piece).await.unwrap();
            }
            writer.write_bytes(Bytes::from(data.clone())).await.unwrap();
            writer.write_bytes(Bytes::from_static(b"x")).await.unwrap();
            writer.write_all(b"y").await.unwrap();
            let expected = [&data[..], &data[..], b"xy"].concat();
            assert_eq!(writer.close().await.unwrap(), Digest::of(&expected));
            let calls = ["write 100", "write 100", "write 56", "write 256", "write 2", "close"];
            assert_eq!(recorder.calls(), calls);
        }
    }

    #[tokio::test]
    async fn closing_again_returns_the_same_digest_and_shutdown_is_close() {
        let recorder = Recorder::default();
        let mut writer = BlobWriter::new(recorder.clone());
        writer.write_all(b"abc").await.unwrap();
        writer.shutdown().await.unwrap();
        assert_eq!(writer.close().await.unwrap(), Digest::of(b"abc"));
        assert_eq!(writer.close().await.unwrap(), Digest::of(b"abc"));
        writer.shutdown().await.unwrap();
        writer.flush().await.unwrap();
        assert_eq!(recorder.calls(), ["write 3", "close"]);
    }

    #[tokio::test]
    async fn writing_after_close_is_invalid_input() {
        let mut writer = BlobWriter::new(Recorder::default());
        writer.close().await.unwrap();
        let error = writer.write_all(b"abc").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = writer.write_bytes(Bytes::from_static(b"abc")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(writer.close().await.unwrap(), Digest::EMPTY);
    }

    #[tokio::test]
    async fn a_failed_write_fails_everything_after_it_with_the_same_error() {
        for fail_write in [1, 2] {
            let recorder = Recorder { fail_write, ..Recorder::default() };
            let mut writer = BlobWriter::new(recorder.clone());
            let written = writer.write_all(&[0; 1000]).await;
            if let Err(error) = written {
                assert_eq!(error.downcast::<Error>().unwrap().kind(), ErrorKind::Unavailable);
            }
            for _ in 0..3 {
                let error = writer.close().await.unwrap_err();
                assert_eq!(error.to_string(), broken("write").to_string());
            }
            assert!(writer.write_all(b"abc").await.is_err());
            assert!(writer.write_bytes(Bytes::from_static(b"abc")).await.is_err());
            assert!(writer.flush().await.is_err());
            assert!(!recorder.calls().contains(&"close".to_owned()));
        }
    }

    #[tokio::test]
    async fn a_failed_close_fails_again() {
        let mut writer = BlobWriter::new(Recorder { fail_close: true, ..Recorder::default() });
        writer.write_all(b"abc").await.unwrap();
        for _ in 0..2 {
            assert_eq!(writer.close().await.unwrap_err().to_string(), broken("close").to_string());
        }
    }

    #[tokio::test]
    async fn a_close_that_was_dropped_goes_on() {
        let recorder = Recorder { yields: true, ..Recorder::default() };
        let mut writer = BlobWriter::new(recorder.clone());
        writer.write_all(b"abc").await.unwrap();
        // Polled once and dropped, over and over: each time it gets one step further.
        let digest = loop {
            let close = writer.close();
            tokio::select! {
                biased;
                digest = close => break digest.unwrap(),
                () = std::future::ready(()) => {}
            }
        };
        assert_eq!(digest, Digest::of(b"abc"));
        assert_eq!(recorder.calls(), ["write 3", "close"]);
    }

    #[tokio::test]
    async fn abort_reaches_the_sink_and_ends_the_writer() {
        let recorder = Recorder { yields: true, ..Recorder::default() };
        let mut writer = BlobWriter::new(recorder.clone());
        writer.write_all(&[0; 250]).await.unwrap();
        writer.abort().await;
        writer.abort().await;
        assert_eq!(recorder.calls().last().unwrap(), "aborted");
        assert_eq!(recorder.calls().iter().filter(|call| *call == "abort").count(), 1);
        assert_eq!(writer.close().await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(writer.write_all(b"abc").await.is_err());
        assert!(!recorder.calls().contains(&"close".to_owned()));
    }

    /// Polls `future` once, and drops it.
    async fn is_pending_once<T>(future: impl Future<Output = T>) -> bool {
        tokio::select! {
            biased;
            _ = future => false,
            () = std::future::ready(()) => true,
        }
    }

    #[tokio::test]
    async fn abort_cancels_a_close_that_was_dropped() {
        // Dropped before the sink has begun to close, and after that.
        for polls in 1..4 {
            let recorder = Recorder { hang_close: true, ..Recorder::default() };
            let mut writer = BlobWriter::new(recorder.clone());
            writer.write_all(b"abc").await.unwrap();
            for _ in 0..polls {
                assert!(is_pending_once(writer.close()).await);
            }
            writer.abort().await;
            assert_eq!(recorder.calls().last().unwrap(), "abort");
            let calls = recorder.calls();
            assert_eq!(writer.close().await.unwrap_err().kind(), ErrorKind::InvalidInput);
            assert_eq!(recorder.calls(), calls, "close does not reach the sink any more");
        }
    }

    #[tokio::test]
    async fn an_abort_that_was_dropped_goes_on() {
        let recorder = Recorder { yields: true, ..Recorder::default() };
        let mut writer = BlobWriter::new(recorder.clone());
        writer.write_all(&[0; 250]).await.unwrap();
        assert!(is_pending_once(writer.abort()).await);
        assert!(writer.close().await.is_err());
        writer.abort().await;
        assert_eq!(recorder.calls()[recorder.calls().len() - 2..], ["abort", "aborted"]);
    }

    #[tokio::test]
    async fn abort_after_a_failure_ends_what_is_left_and_keeps_the_error() {
        let recorder = Recorder { fail_close: true, ..Recorder::default() };
        let mut writer = BlobWriter::new(recorder.clone());
        assert!(writer.close().await.is_err());
        writer.abort().await;
        assert_eq!(recorder.calls(), ["close", "abort"]);
        assert_eq!(writer.close().await.unwrap_err().to_string(), broken("close").to_string());
    }

    #[tokio::test]
    async fn abort_after_close_does_nothing() {
        let recorder = Recorder::default();
        let mut writer = BlobWriter::new(recorder.clone());
        writer.close().await.unwrap();
        writer.abort().await;
        assert_eq!(writer.close().await.unwrap(), Digest::EMPTY);
        assert_eq!(recorder.calls(), ["close"]);
    }
}
