//! The streams of an open file: always ready, unbuffered, bounded in what one call does.
//!
//! They hold the file's content itself, so they outlive the handle they were made from and the file's name. An
//! operation that failed closes its stream, as the interface says. Made by `host/filesystem.rs`.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, OutputStream, StreamError, StreamResult};

use super::CHUNK_BYTES;
use crate::vfs::FileCell;

static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// A file read from a position on. Its end is no end of the stream for good: what is appended later can be read then.
pub(super) struct Reader {
    cell: Arc<FileCell>,
    position: u64,
    closed: bool,
}

impl Reader {
    pub(super) fn new(cell: Arc<FileCell>, position: u64) -> Reader {
        Reader {
            cell,
            position,
            closed: false,
        }
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.closed {
            return Err(StreamError::Closed);
        }
        match self.cell.read(self.position, size.min(CHUNK_BYTES)) {
            Ok(bytes) if bytes.is_empty() && size > 0 => Err(StreamError::Closed),
            Ok(bytes) => {
                self.position += bytes.len() as u64;
                Ok(bytes)
            }
            Err(error) => {
                self.closed = true;
                Err(StreamError::LastOperationFailed(error.into()))
            }
        }
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.read(size)
    }

    fn skip(&mut self, count: usize) -> StreamResult<usize> {
        let rest = self.cell.len().saturating_sub(self.position);
        if self.closed || (rest == 0 && count > 0) {
            return Err(StreamError::Closed);
        }
        let skipped = usize::try_from(rest).unwrap_or(usize::MAX).min(count);
        self.position += skipped as u64;
        Ok(skipped)
    }

    async fn blocking_skip(&mut self, count: usize) -> StreamResult<usize> {
        self.skip(count)
    }
}

/// A file written from a position on, or at its end each time.
pub(super) struct Writer {
    cell: Arc<FileCell>,
    position: Option<u64>,
    closed: bool,
}

impl Writer {
    pub(super) fn new(cell: Arc<FileCell>, position: Option<u64>) -> Writer {
        Writer {
            cell,
            position,
            closed: false,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> StreamResult<()> {
        if self.closed {
            return Err(StreamError::Closed);
        }
        match self.cell.write(self.position, bytes) {
            Ok(end) => {
                self.position = self.position.map(|_| end);
                Ok(())
            }
            Err(error) => {
                self.closed = true;
                Err(StreamError::LastOperationFailed(error.into()))
            }
        }
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.put(&bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.closed {
            Err(StreamError::Closed)
        } else {
            Ok(())
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.closed {
            Err(StreamError::Closed)
        } else {
            Ok(CHUNK_BYTES)
        }
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.put(&bytes)
    }

    fn write_zeroes(&mut self, count: usize) -> StreamResult<()> {
        match ZEROS.get(..count) {
            Some(zeros) => self.put(zeros),
            None => Err(StreamError::trap("more zeroes than the stream permits")),
        }
    }
}
