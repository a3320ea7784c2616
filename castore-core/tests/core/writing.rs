//! The writer, over a sink that keeps what it is given.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::{BlobSink, BlobWriter, Digest, Result};
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};

/// The size of the writes that the sink prefers, in bytes.
const CAPACITY: usize = 100;

#[derive(Clone, Default)]
struct Sink {
    written: Arc<Mutex<Vec<Bytes>>>,
    closed: Arc<Mutex<bool>>,
    /// Whether no write ever ends.
    hangs: bool,
}

impl Sink {
    fn sizes(&self) -> Vec<usize> {
        self.written.lock().unwrap().iter().map(Bytes::len).collect()
    }
}

#[async_trait]
impl BlobSink for Sink {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.written.lock().unwrap().push(data);
        if self.hangs {
            pending::<()>().await;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<Digest> {
        *self.closed.lock().unwrap() = true;
        Ok(Digest::of(&self.written.lock().unwrap().concat()))
    }

    fn preferred_write_size(&self) -> usize {
        CAPACITY
    }
}

/// A sink with no preference of its own.
struct Plain;

#[async_trait]
impl BlobSink for Plain {
    async fn write(&mut self, _: Bytes) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<Digest> {
        Ok(Digest::EMPTY)
    }
}

#[test]
fn a_writer_prefers_what_its_sink_does_and_that_is_64_kib_by_default() {
    assert_eq!(BlobWriter::new(Sink::default()).preferred_write_size(), CAPACITY);
    assert_eq!(BlobWriter::new(Plain).preferred_write_size(), 65_536);
}

#[tokio::test]
async fn bytes_are_gathered_up_to_a_quarter_of_what_the_sink_likes() {
    // The bytes that were gathered before, those that come, and what the sink has been given then.
    let cases: [(usize, usize, &[usize]); 7] = [
        (0, 25, &[]),
        (20, 5, &[]),
        (0, 26, &[26]),
        (1, 25, &[1, 25]),
        (20, 6, &[20, 6]),
        (25, 1, &[25, 1]),
        (0, 400, &[400]),
    ];
    for (before, size, expected) in cases {
        let sink = Sink::default();
        let mut writer = BlobWriter::new(sink.clone());
        writer.write_all(&vec![1; before]).await.unwrap();
        let data = Bytes::from(vec![2; size]);
        writer.write_bytes(data.clone()).await.unwrap();
        // A write that was started is only polled by the next call.
        let gathered: usize = if expected.is_empty() { before + size } else { 0 };
        writer.flush().await.unwrap();
        let expected = if gathered > 0 { &[gathered][..] } else { expected };
        assert_eq!(sink.sizes(), expected, "{before} bytes, then {size}");
        // Bytes that were not gathered were not copied either.
        let is_same = sink.written.lock().unwrap().last().unwrap().as_ptr() == data.as_ptr();
        assert_eq!(is_same, gathered == 0, "{before} bytes, then {size}");
    }
}

#[tokio::test]
async fn a_flush_hands_over_what_was_gathered_and_publishes_nothing() {
    let sink = Sink::default();
    let mut writer = BlobWriter::new(sink.clone());
    writer.write_all(b"abc").await.unwrap();
    assert!(sink.sizes().is_empty());
    writer.flush().await.unwrap();
    assert_eq!(sink.sizes(), [3]);
    assert!(!*sink.closed.lock().unwrap());
}

#[tokio::test]
async fn a_shutdown_alone_publishes_the_blob() {
    let sink = Sink::default();
    let mut writer = BlobWriter::new(sink.clone());
    writer.write_all(b"abc").await.unwrap();
    writer.shutdown().await.unwrap();
    assert_eq!(sink.sizes(), [3]);
    assert!(*sink.closed.lock().unwrap());
}

#[tokio::test]
async fn bytes_are_taken_while_the_sink_is_busy_until_as_many_are_gathered_as_it_likes() {
    let sink = Sink { hangs: true, ..Sink::default() };
    let mut writer = BlobWriter::new(sink.clone());
    let mut taken = 0;
    poll_fn(|context| {
        while let Poll::Ready(count) = Pin::new(&mut writer).poll_write(context, &[0; 7]) {
            taken += count.unwrap();
            assert!(taken <= 2 * CAPACITY);
        }
        Poll::Ready(())
    })
    .await;
    assert_eq!(taken, 2 * CAPACITY);
    assert_eq!(sink.sizes(), [CAPACITY]);
}
