//! What a child has of its own: a socket to its parent, and what it gets by asking there.
//!
//! Inputs are asked for when a guest first reads them, as from the store in the parent; temporary files are made there and
//! lent. One question at a time, for one guest runs. Never opens anything. Called by [`super::guest`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use sykli_core::tree::Tree;
use sykli_runtime::vfs::{FlatIndex, Lender};
use sykli_runtime::{Entry, ReadAt, Source};

use super::frame::{self, Reader};
use super::message::{ToChild, ToParent};
use crate::db::lock;

/// Bytes of messages that wait to be sent together.
const GATHERED: usize = 64 << 10;

/// The socket to the parent.
pub(super) struct Channel(Mutex<Ends>);

struct Ends {
    socket: UnixStream,
    reader: Reader,
    unsent: Vec<u8>,
}

/// What a child is told: the message, its body, and the descriptor that came with it.
pub(super) type Told = (ToChild, Vec<u8>, Option<File>);

/// What was asked for.
pub(super) enum Got {
    Bytes(Bytes),
    File(File),
}

fn confused() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no answer to what was asked")
}

impl Ends {
    fn say(&mut self, message: &ToParent, body: &[u8]) -> io::Result<()> {
        frame::put(&mut self.unsent, message, body)?;
        match self.unsent.len() >= GATHERED {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut rest = self.unsent.as_slice();
        // Not by way of the socket's own `write`, which is another system call.
        while !rest.is_empty() {
            match rustix::io::write(&self.socket, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.unsent.clear();
        Ok(())
    }

    fn hear(&mut self) -> io::Result<Option<(ToChild, Vec<u8>)>> {
        loop {
            if let Some(heard) = self.reader.next()? {
                return Ok(Some(heard));
            }
            if !self.reader.fill_with_files(&self.socket)? {
                return Ok(None);
            }
        }
    }

    fn file(&mut self) -> io::Result<File> {
        self.reader.file().map(File::from).ok_or_else(confused)
    }

    fn ask(&mut self, message: &ToParent) -> io::Result<(ToChild, Vec<u8>)> {
        self.say(message, &[])?;
        self.flush()?;
        let answer = self.hear()?;
        match answer.ok_or(io::ErrorKind::UnexpectedEof)? {
            (ToChild::Missing { message, full }, _) => match full {
                true => Err(io::Error::new(io::ErrorKind::StorageFull, message)),
                false => Err(io::Error::other(message)),
            },
            answer => Ok(answer),
        }
    }

    fn get(&mut self, message: &ToParent) -> io::Result<Got> {
        match self.ask(message)? {
            (ToChild::Here, body) => Ok(Got::Bytes(body.into())),
            (ToChild::Lent, _) => Ok(Got::File(self.file()?)),
            _ => Err(confused()),
        }
    }

    fn spool(&mut self, message: &ToParent) -> io::Result<(u32, File)> {
        match self.ask(message)? {
            (ToChild::Spool { number }, _) => Ok((number, self.file()?)),
            _ => Err(confused()),
        }
    }
}

impl Channel {
    pub(super) fn new(socket: UnixStream) -> Channel {
        Channel(Mutex::new(Ends {
            socket,
            reader: Reader::default(),
            unsent: Vec::new(),
        }))
    }

    /// What it is told to do; none where the parent is gone. With the descriptor that comes with it.
    pub(super) fn hear(&self) -> io::Result<Option<Told>> {
        let mut ends = lock(&self.0);
        let Some((message, body)) = ends.hear()? else {
            return Ok(None);
        };
        let file = ends.reader.file().map(File::from);
        Ok(Some((message, body, file)))
    }

    /// Says something, perhaps later.
    pub(super) fn say(&self, message: &ToParent, body: &[u8]) -> io::Result<()> {
        lock(&self.0).say(message, body)
    }

    /// Says something at once.
    pub(super) fn tell(&self, message: &ToParent, body: &[u8]) -> io::Result<()> {
        let mut ends = lock(&self.0);
        ends.say(message, body)?;
        ends.flush()
    }

    /// Asks for bytes.
    pub(super) fn get(&self, message: &ToParent) -> io::Result<Got> {
        lock(&self.0).get(message)
    }
}

impl Lender for Channel {
    fn create(&self) -> io::Result<(u32, File)> {
        lock(&self.0).spool(&ToParent::NewSpool)
    }

    fn open(&self, number: u32) -> io::Result<File> {
        let (_, file) = lock(&self.0).spool(&ToParent::Spool { number })?;
        Ok(file)
    }

    fn remove(&self, number: u32) {
        // Where the parent is gone, so is the file.
        let _ = self.say(&ToParent::DropSpool { number }, &[]);
    }
}

/// Bytes that are with the parent until they are first read.
pub(super) struct Remote {
    channel: Arc<Channel>,
    ask: ToParent,
    len: u64,
    blake3: Option<[u8; 32]>,
    bytes: OnceLock<Bytes>,
    file: Mutex<Option<Arc<File>>>,
}

impl Remote {
    pub(super) fn source(
        channel: &Arc<Channel>,
        ask: ToParent,
        len: u64,
        blake3: Option<[u8; 32]>,
    ) -> Source {
        if len == 0 {
            return Source::empty();
        }
        Source::new(Arc::new(Remote {
            channel: Arc::clone(channel),
            ask,
            len,
            blake3,
            bytes: OnceLock::new(),
            file: Mutex::default(),
        }))
    }

    fn file(&self) -> io::Result<Option<Arc<File>>> {
        let mut held = lock(&self.file);
        if let Some(file) = &*held {
            return Ok(Some(Arc::clone(file)));
        }
        match self.channel.get(&self.ask)? {
            Got::File(file) => Ok(Some(Arc::clone(held.insert(Arc::new(file))))),
            Got::Bytes(bytes) if bytes.len() as u64 == self.len => {
                self.bytes.get_or_init(|| bytes);
                Ok(None)
            }
            Got::Bytes(_) => Err(confused()),
        }
    }
}

impl ReadAt for Remote {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let want = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = want.min(buf.len());
        let Some(part) = buf.get_mut(..want).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        if self.bytes.get().is_none()
            && let Some(file) = self.file()?
        {
            return match file.read_at(part, offset)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                count => Ok(count),
            };
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.bytes.get().and_then(|bytes| bytes.get(start..));
        let bytes = bytes.and_then(|rest| rest.get(..want));
        part.copy_from_slice(bytes.ok_or_else(confused)?);
        Ok(want)
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn as_bytes(&self) -> Option<&Bytes> {
        self.bytes.get()
    }

    fn blake3(&self) -> Option<[u8; 32]> {
        self.blake3
    }

    fn close(&self) {
        *lock(&self.file) = None;
    }
}

/// An input tree whose files are with the parent.
pub(super) struct RemoteTree {
    pub(super) channel: Arc<Channel>,
    pub(super) index: usize,
    pub(super) tree: Tree,
}

impl FlatIndex for RemoteTree {
    fn len(&self) -> usize {
        self.tree.entries().len()
    }

    fn path(&self, index: usize) -> &str {
        let entry = self.tree.entries().get(index);
        entry.map_or("", |entry| entry.path.as_str())
    }

    fn entry(&self, index: usize) -> Entry {
        let (source, executable) = match self.tree.entries().get(index) {
            None => (Source::empty(), false),
            Some(entry) => {
                let ask = ToParent::File {
                    tree: self.index,
                    entry: index,
                };
                let digest = Some(entry.digest.0);
                let source = Remote::source(&self.channel, ask, entry.size, digest);
                (source, entry.executable)
            }
        };
        Entry::File { source, executable }
    }
}
