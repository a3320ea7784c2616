//! Writing a blob: the small trait that a backend implements, and the writer that people use.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::{Digest, Error, ErrorKind, Result};

/// What a backend implements to let one blob be written.
///
/// [`BlobWriter`] keeps the protocol: calls come one after another, none after a failed one, and
/// each future is polled to its end or dropped together with the sink. A sink that is dropped
/// without a successful `close` publishes nothing.
#[async_trait]
pub trait BlobSink: Send + 'static {
    /// Takes the next bytes of the blob. Waiting here is how a slow store slows a writer down.
    async fn write(&mut self, data: Bytes) -> Result<()>;

    /// Publishes the blob; returns once it is there to stay.
    async fn close(&mut self) -> Result<Digest>;

    /// Gives the blob up, and returns once nothing is under way any more.
    async fn abort(&mut self) {}

    /// How many bytes the sink likes to be given at once; small writes are gathered up to that.
    fn preferred_write_size(&self) -> usize {
        64 * 1024
    }
}

type Sink = Box<dyn BlobSink>;
type Step<T> = Pin<Box<dyn Future<Output = (Sink, Result<T>)> + Send>>;

enum State {
    Open(Sink),
    Writing(Step<()>),
    Closing(Step<Digest>),
    Closed(Digest),
    Failed(Error),
}

/// A writer of one blob: `AsyncWrite`, then [`close`](BlobWriter::close), which names it.
///
/// Nothing is published before `close` returns. Dropping the writer, [`abort`](BlobWriter::abort)
/// and any failure give the blob up. After a failure every further call returns the same error;
/// writing after `close` is `InvalidInput`. `shutdown` is `close`.
pub struct BlobWriter {
    state: State,
    /// Small writes, gathered; at most `capacity` bytes.
    gathered: BytesMut,
    capacity: usize,
}

impl BlobWriter {
    /// A writer into `sink`.
    pub fn new(sink: impl BlobSink) -> BlobWriter {
        let capacity = sink.preferred_write_size().max(1);
        BlobWriter { state: State::Open(Box::new(sink)), gathered: BytesMut::new(), capacity }
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

    /// Gives the blob up; returns once nothing is under way any more. Later calls fail.
    pub async fn abort(&mut self) {
        // Whatever fails now does not matter any more.
        let _ = poll_fn(|cx| self.poll_settle(cx)).await;
        let aborted = Error::new(ErrorKind::InvalidInput, "write", "the writer was aborted");
        if matches!(self.state, State::Open(_)) {
            self.gathered = BytesMut::new();
            if let State::Open(mut sink) = self.replace(State::Failed(aborted)) {
                sink.abort().await;
            }
        }
    }

    fn replace(&mut self, state: State) -> State {
        std::mem::replace(&mut self.state, state)
    }

    /// Gives the open sink to `step`. The state is `Failed` where there is no open sink.
    fn start_write(&mut self, data: Bytes) {
        let lost = Error::new(ErrorKind::Other, "write", "the writer has panicked");
        self.state = match self.replace(State::Failed(lost)) {
            State::Open(mut sink) if !data.is_empty() => State::Writing(Box::pin(async move {
                let result = sink.write(data).await;
                (sink, result)
            })),
            other => other,
        };
    }

    /// Ready once the sink is open and idle; an error where it will not be again.
    fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.state {
            State::Open(_) => Poll::Ready(Ok(())),
            State::Writing(step) => {
                let (sink, result) = ready!(step.as_mut().poll(cx));
                self.state = match &result {
                    Ok(()) => State::Open(sink),
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
                    let (_, result) = ready!(step.as_mut().poll(cx));
                    self.state = match result {
                        Ok(digest) => State::Closed(digest),
                        Err(error) => State::Failed(error),
                    };
                }
                State::Open(_) | State::Writing(_) => {
                    ready!(self.poll_hand_over(cx))?;
                    let lost = Error::new(ErrorKind::Other, "close", "the writer has panicked");
                    if let State::Open(mut sink) = self.replace(State::Failed(lost)) {
                        self.state = State::Closing(Box::pin(async move {
                            let result = sink.close().await;
                            (sink, result)
                        }));
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
        // What is under way gets on while the caller prepares the next bytes; what comes of it is
        // for the next call, as these bytes are taken already.
        if let State::Writing(_) = this.state {
            let _ = this.poll_settle(cx);
        }
        Poll::Ready(Ok(count))
    }

    /// Hands the bytes that were gathered to the backend. It publishes nothing: `close` does.
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
            State::Open(_) => "open",
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
    use std::sync::{Arc, Mutex};

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Recorder {
        calls: Arc<Mutex<Vec<String>>>,
        data: Arc<Mutex<Vec<u8>>>,
        /// The number of the write that fails, from 1; 0 fails none.
        fail_write: usize,
        fail_close: bool,
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
            if self.fail_close {
                return Err(broken("close"));
            }
            Ok(Digest::of(&self.data.lock().unwrap()))
        }

        async fn abort(&mut self) {
            self.call("abort");
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
        assert_eq!(recorder.calls().last().unwrap(), "abort");
        assert_eq!(writer.close().await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(writer.write_all(b"abc").await.is_err());
        assert!(!recorder.calls().contains(&"close".to_owned()));
    }
}
