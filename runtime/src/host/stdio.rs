//! The three standard streams: input from a source, output counted, its beginning kept and passed on.
//!
//! Output never blocks a guest and never ends it: what is beyond the bounds is counted and dropped, so a flood costs the
//! guest's own fuel and the host nothing. Bytes are passed on as they are; whoever displays them strips escapes.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, OutputStream, StreamError, StreamResult};

use crate::grant::Grant;
use crate::outcome::Captured;
use crate::sandbox::Observer;
use crate::vfs::Source;

/// Bytes that one read or write may carry.
const CHUNK: usize = 64 << 10;

/// The standard streams of one run. Nothing is allocated before the guest asks for one.
pub(crate) struct Stdio {
    source: Source,
    stdin: Option<Arc<Mutex<Input>>>,
    keep: u64,
    pass_on: u64,
    stdout: Option<Arc<Mutex<Capture>>>,
    stderr: Option<Arc<Mutex<Capture>>>,
}

/// Which output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

impl Stdio {
    pub(crate) fn new(stdin: Source, grant: &Grant) -> Self {
        Self {
            source: stdin,
            stdin: None,
            keep: grant.stdio_bytes,
            pass_on: grant.stream_bytes,
            stdout: None,
            stderr: None,
        }
    }

    /// A handle to stdin; all handles read on from the same place.
    pub(crate) fn input(&mut self) -> InputHandle {
        let source = &self.source;
        let input = self.stdin.get_or_insert_with(|| {
            Arc::new(Mutex::new(Input {
                source: source.clone(),
                offset: 0,
            }))
        });
        InputHandle(Arc::clone(input))
    }

    /// A handle to an output stream; all handles to one write to the same place.
    pub(crate) fn output(&mut self, which: Output, observer: &Arc<dyn Observer>) -> OutputHandle {
        let slot = match which {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        };
        let (keep, pass_on) = (self.keep, self.pass_on);
        let capture = slot.get_or_insert_with(|| {
            Arc::new(Mutex::new(Capture {
                which,
                kept: Captured::default(),
                keep,
                pass_on,
                observer: Arc::clone(observer),
            }))
        });
        OutputHandle(Arc::clone(capture))
    }

    /// What was kept of stdout and stderr.
    pub(crate) fn finish(&mut self) -> (Captured, Captured) {
        let take = |slot: Option<Arc<Mutex<Capture>>>| match slot {
            Some(capture) => {
                std::mem::take(&mut capture.lock().unwrap_or_else(PoisonError::into_inner).kept)
            }
            None => Captured::default(),
        };
        (take(self.stdout.take()), take(self.stderr.take()))
    }
}

/// What becomes of the bytes of one output stream.
struct Capture {
    which: Output,
    kept: Captured,
    /// Bytes still kept.
    keep: u64,
    /// Bytes still passed on.
    pass_on: u64,
    observer: Arc<dyn Observer>,
}

impl Capture {
    fn write(&mut self, bytes: &[u8]) {
        let kept = take_of(&mut self.keep, bytes);
        self.kept.bytes.extend_from_slice(kept);
        self.kept.dropped_bytes = self
            .kept
            .dropped_bytes
            .saturating_add((bytes.len() - kept.len()) as u64);
        let passed_on = take_of(&mut self.pass_on, bytes);
        if passed_on.is_empty() {
            return;
        }
        match self.which {
            Output::Stdout => self.observer.stdout(passed_on),
            Output::Stderr => self.observer.stderr(passed_on),
        }
    }
}

/// The beginning of `bytes` that a budget still covers; the budget pays for it.
fn take_of<'a>(budget: &mut u64, bytes: &'a [u8]) -> &'a [u8] {
    let n = usize::try_from(*budget)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    *budget -= n as u64;
    bytes.get(..n).unwrap_or_default()
}

/// The guest's end of stdout or stderr: always ready, never blocking.
pub(crate) struct OutputHandle(Arc<Mutex<Capture>>);

#[async_trait]
impl Pollable for OutputHandle {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for OutputHandle {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > CHUNK {
            return Err(StreamError::trap("wrote more than check-write permitted"));
        }
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write(bytes)
    }
}

/// Stdin, and how much of it is read.
struct Input {
    source: Source,
    offset: u64,
}

impl Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let left = self.source.len().saturating_sub(self.offset);
        let n = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(size)
            .min(CHUNK);
        if n == 0 {
            return Err(StreamError::Closed);
        }
        let mut buf = BytesMut::zeroed(n);
        let n = self
            .source
            .read_at(&mut buf, self.offset)
            .map_err(|error| StreamError::LastOperationFailed(error.into()))?;
        if n == 0 {
            return Err(StreamError::Closed);
        }
        buf.truncate(n);
        self.offset = self.offset.saturating_add(n as u64);
        Ok(buf.freeze())
    }
}

/// The guest's end of stdin: always ready, as a source is.
pub(crate) struct InputHandle(Arc<Mutex<Input>>);

#[async_trait]
impl Pollable for InputHandle {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for InputHandle {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(size)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sandbox::Silent;

    #[test]
    fn a_flood_is_counted_and_its_beginning_kept() {
        let grant = Grant {
            stdio_bytes: 5,
            ..Grant::default()
        };
        let mut stdio = Stdio::new(Source::empty(), &grant);
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let mut first = stdio.output(Output::Stdout, &observer);
        let mut second = stdio.output(Output::Stdout, &observer);
        first.write(Bytes::from_static(b"abc")).unwrap();
        second.write(Bytes::from_static(b"defgh")).unwrap();
        first.write(Bytes::from_static(b"ij")).unwrap();
        let (stdout, stderr) = stdio.finish();
        assert_eq!(
            stdout,
            Captured {
                bytes: b"abcde".to_vec(),
                dropped_bytes: 5
            }
        );
        assert_eq!(stderr, Captured::default());
    }

    #[test]
    fn one_write_is_bounded() {
        let mut stdio = Stdio::new(Source::empty(), &Grant::default());
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let mut handle = stdio.output(Output::Stderr, &observer);
        assert!(matches!(
            handle.write(Bytes::from(vec![0; CHUNK + 1])),
            Err(StreamError::Trap(_))
        ));
    }

    #[test]
    fn stdin_is_read_to_its_end_whichever_handle_reads() {
        let mut stdio = Stdio::new(Source::bytes(&b"hello"[..]), &Grant::default());
        let (mut first, mut second) = (stdio.input(), stdio.input());
        assert_eq!(first.read(2).unwrap(), "he");
        assert_eq!(first.read(0).unwrap(), "");
        assert_eq!(second.read(100).unwrap(), "llo");
        assert!(matches!(first.read(1), Err(StreamError::Closed)));
    }
}
