//! What passes between a process and its child, as bytes: frames over a pair of Unix sockets.
//!
//! `head length (u32 LE) ‖ body length (u32 LE) ‖ head (JSON) ‖ body (raw)`; a descriptor travels with a frame's first byte.
//! Both lengths are bounded before anything is allocated for them. It knows nothing of what a head means, and takes
//! descriptors only where its caller says so: what a child sends along is closed by the system.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest head, bytes: the longest backtrace, every character of it escaped.
pub(super) const MAX_HEAD: usize = 512 << 10;
/// The longest body, bytes.
pub(super) const MAX_BODY: usize = 1 << 20;
/// Bytes read at once.
const CHUNK: usize = 64 << 10;
const LENGTHS: usize = 8;
/// Descriptors that one read may bring.
const FILES: usize = 4;

/// Adds a frame to `buffer`.
///
/// # Errors
/// Where it is longer than a frame may be.
pub(super) fn put(buffer: &mut Vec<u8>, head: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; LENGTHS]);
    let written = serde_json::to_writer(&mut *buffer, head);
    let head_len = buffer.len() - start - LENGTHS;
    if written.is_err() || head_len > MAX_HEAD || body.len() > MAX_BODY {
        buffer.truncate(start);
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a frame too long",
        ));
    }
    let lengths =
        [head_len, body.len()].map(|len| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    if let Some(place) = buffer.get_mut(start..start + LENGTHS) {
        place.copy_from_slice(lengths.as_flattened());
    }
    buffer.extend_from_slice(body);
    Ok(())
}

/// Sends one frame, with a descriptor where there is one.
///
/// # Errors
/// Where it is too long, or the other end is gone or does not read.
pub(super) fn send(
    mut socket: &UnixStream,
    head: &impl Serialize,
    body: &[u8],
    file: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(256 + body.len());
    put(&mut buffer, head, body)?;
    let Some(file) = file else {
        return socket.write_all(&buffer);
    };
    let files = [file];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let sent = sendmsg(
        socket,
        &[IoSlice::new(&buffer)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    socket.write_all(buffer.get(sent..).unwrap_or_default())
}

/// Reads frames.
#[derive(Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
    /// How much of it is read.
    at: usize,
    files: VecDeque<OwnedFd>,
}

impl Reader {
    /// The next frame of those that are here whole: its head, and its body.
    ///
    /// # Errors
    /// Where it is none.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<u8>)>> {
        let here = self.buffer.get(self.at..).unwrap_or_default();
        let Some((lengths, rest)) = here.split_first_chunk::<LENGTHS>() else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h] = *lengths;
        let head_len = u32::from_le_bytes([a, b, c, d]) as usize;
        let body_len = u32::from_le_bytes([e, f, g, h]) as usize;
        if head_len > MAX_HEAD || body_len > MAX_BODY {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a frame too long",
            ));
        }
        let Some((head, body)) = rest
            .get(..head_len + body_len)
            .and_then(|frame| frame.split_at_checked(head_len))
        else {
            return Ok(None);
        };
        let head = serde_json::from_slice(head)?;
        let body = body.to_vec();
        self.at += LENGTHS + head_len + body_len;
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        Ok(Some((head, body)))
    }

    /// The descriptor that came with the last frame; the oldest that nobody has taken.
    pub(super) fn file(&mut self) -> Option<OwnedFd> {
        self.files.pop_front()
    }

    /// Reads what is there, waiting for the first byte. False at the end.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn fill(&mut self, mut socket: &UnixStream) -> io::Result<bool> {
        let old = self.make_room();
        let part = self.buffer.get_mut(old..).unwrap_or_default();
        let read = loop {
            match socket.read(part) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    /// The same, and keeps the descriptors that come along.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn fill_with_files(&mut self, socket: &UnixStream) -> io::Result<bool> {
        let old = self.make_room();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let part = self.buffer.get_mut(old..).unwrap_or_default();
        let read = loop {
            let mut parts = [IoSliceMut::new(&mut *part)];
            match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                read => break read,
            }
        };
        self.buffer
            .truncate(old + read.as_ref().map_or(0, |read| read.bytes));
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files);
            }
        }
        Ok(read?.bytes > 0)
    }

    /// Makes room for one read; answers where it begins.
    fn make_room(&mut self) -> usize {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        let old = self.buffer.len();
        self.buffer.resize(old + CHUNK, 0);
        old
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn frames_and_their_descriptors_arrive_in_order() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let dir = tempfile::tempdir().unwrap();
        for n in 0..3 {
            let path = dir.path().join(n.to_string());
            std::fs::write(&path, format!("file {n}")).unwrap();
            let file = File::open(path).unwrap();
            let file = (n != 1).then(|| file.as_fd());
            send(&ours, &n, &vec![7; n * 20_000], file).unwrap();
        }
        drop(ours);
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        loop {
            while let Some((n, body)) = reader.next::<usize>().unwrap() {
                assert_eq!(body, vec![7; n * 20_000]);
                let file = (n != 1).then(|| File::from(reader.file().unwrap()));
                seen.push((n, file.map(|file| std::io::read_to_string(file).unwrap())));
            }
            if !reader.fill_with_files(&theirs).unwrap() {
                break;
            }
        }
        let text = |n| Some(format!("file {n}"));
        assert_eq!(seen, [(0, text(0)), (1, None), (2, text(2))]);
    }

    #[test]
    fn what_is_no_frame_is_refused_before_it_is_waited_for() {
        let read = |bytes: &[u8]| {
            let mut reader = Reader {
                buffer: bytes.to_vec(),
                ..Reader::default()
            };
            reader.next::<u32>()
        };
        let long = u32::try_from(MAX_BODY + 1).unwrap().to_le_bytes();
        assert!(read(&[&[1, 0, 0, 0][..], &long].concat()).is_err());
        assert!(read(&[&[255; 4][..], &[0; 4]].concat()).is_err());
        assert!(read(&[1, 0, 0, 0, 0, 0, 0, 0, b'x']).is_err(), "no JSON");
        assert!(read(&[1, 0, 0, 0, 2, 0, 0, 0, b'1', 0]).unwrap().is_none());
        let mut buffer = Vec::new();
        assert!(put(&mut buffer, &"x", &vec![0; MAX_BODY + 1]).is_err());
        assert!(buffer.is_empty());
    }
}
