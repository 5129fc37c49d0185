//! Frames on a stream: four bytes of length, the greatest first, then so many bytes.
//!
//! A frame has a deadline from its first byte on, so that one byte a second buys nobody a place; silence between frames is
//! the transport's business. A length over the cap is refused before anything is allocated. Never looks into a frame.
//! Called by the greeting and by a pair's reader and writer.

use std::io;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Bytes before a frame.
const PREFIX: usize = 4;

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {bytes} bytes, where {most} are the most")]
    TooLong { bytes: usize, most: usize },
    #[error("a frame that does not end in time")]
    Slow,
    #[error("the stream ends within a frame")]
    Cut,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A frame with its prefix.
pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(PREFIX + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// Waits for a frame of at most `most` bytes, and then at most `deadline` for all of it. `None` where the stream ends
/// before one begins.
pub(super) async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    most: usize,
    deadline: Duration,
) -> Result<Option<Vec<u8>>, FrameError> {
    let mut prefix = [0; PREFIX];
    let begun = reader.read(&mut prefix).await?;
    if begun == 0 {
        return Ok(None);
    }
    match timeout(deadline, read_rest(reader, prefix, begun, most)).await {
        Ok(frame) => frame.map(Some),
        Err(_) => Err(FrameError::Slow),
    }
}

async fn read_rest<R: AsyncRead + Unpin>(
    reader: &mut R,
    mut prefix: [u8; PREFIX],
    begun: usize,
    most: usize,
) -> Result<Vec<u8>, FrameError> {
    if let Some(rest) = prefix.get_mut(begun..) {
        reader.read_exact(rest).await.map_err(cut)?;
    }
    let bytes = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if bytes > most {
        return Err(FrameError::TooLong { bytes, most });
    }
    let mut body = vec![0; bytes];
    reader.read_exact(&mut body).await.map_err(cut)?;
    Ok(body)
}

fn cut(error: io::Error) -> FrameError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FrameError::Cut,
        _ => FrameError::Io(error),
    }
}

/// Writes `bytes` (frames with their prefixes) and sees them off, within `deadline`.
pub(super) async fn write_framed<W: AsyncWrite + Unpin>(
    writer: &mut W,
    bytes: &[u8],
    deadline: Duration,
) -> Result<(), FrameError> {
    let write = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    match timeout(deadline, write).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(FrameError::Slow),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use futures::io::Cursor;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    const LONG: Duration = Duration::from_secs(60);

    async fn read(bytes: &[u8]) -> Result<Option<Vec<u8>>, FrameError> {
        read_frame(&mut Cursor::new(bytes), 8, LONG).await
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let bytes = [framed(b"one"), framed(b""), framed(b"12345678")].concat();
        let mut reader = Cursor::new(bytes);
        for expected in [&b"one"[..], b"", b"12345678"] {
            let frame = read_frame(&mut reader, 8, LONG).await.unwrap();
            assert_eq!(frame.as_deref(), Some(expected));
        }
        assert_eq!(read_frame(&mut reader, 8, LONG).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_too_long_or_cut_is_refused() {
        let nine = FrameError::TooLong { bytes: 9, most: 8 };
        let error = read(&framed(b"123456789")).await.unwrap_err();
        assert_eq!(error.to_string(), nine.to_string());
        for end in [1, 3, 4, 6] {
            let error = read(&framed(b"123")[..end]).await.unwrap_err();
            assert!(matches!(error, FrameError::Cut), "{end}: {error}");
        }
    }

    /// Gives one byte, then nothing for ever.
    struct Stalls(bool);

    impl AsyncRead for Stalls {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Pending;
            }
            buffer[0] = 0;
            Poll::Ready(Ok(1))
        }
    }

    #[tokio::test]
    async fn a_frame_that_began_has_a_deadline() {
        let short = Duration::from_millis(10);
        let error = read_frame(&mut Stalls(false), 8, short).await.unwrap_err();
        assert!(matches!(error, FrameError::Slow));
    }
}
