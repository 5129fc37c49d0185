//! Compiled code on disk: entries that only this user can have written, each with its own checksum.
//!
//! Native code is trusted when it is loaded, so an entry counts only if it comes from a folder that belongs to this user
//! and that nobody else can write: that keeps others out. A checksum over key, description and code keeps out what a disk
//! or a killed program damaged; it is XXH3, because it is computed each time and nobody is there to forge it. Anything
//! else is a miss: a wrong length, a flipped bit, an entry of another engine, a folder that cannot be read. Nothing here
//! fails a run, and nothing here interprets the code.
//!
//! One file an entry, named by its key: `code ‖ description ‖ magic ‖ description length (u32 LE) ‖ code length (u64 LE) ‖
//! XXH3-128`. The code comes first so that the engine can map the file instead of copying it. Written beside and renamed,
//! so that readers and killed writers never meet half of one, and never changed once it has its name.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags};
use xxhash_rust::xxh3::Xxh3;

const MAGIC: &[u8; 8] = b"sykcode2";
const TRAILER_BYTES: usize = 8 + 4 + 8 + 16;
/// How much of an entry is read at once to check it: what stays in the processor's nearer caches.
const CHUNK_BYTES: usize = 64 << 10;
/// The longest description.
const MAX_DESCRIPTION_BYTES: u64 = 4 << 20;
/// An entry beyond this is not read: nothing that passes the checks of a load compiles to more.
const MAX_ENTRY_BYTES: u64 = 2 << 30;
/// What all entries may take; beyond it the oldest go.
const MAX_TOTAL_BYTES: u64 = 4 << 30;

/// What identifies compiled code: the component and everything that shapes its compilation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl Key {
    fn file_name(self) -> String {
        let mut name = String::with_capacity(64);
        for byte in self.0 {
            name.push(char::from(HEX[usize::from(byte >> 4)]));
            name.push(char::from(HEX[usize::from(byte & 15)]));
        }
        name
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// One entry, checked. Its code begins the file.
pub(crate) struct Cached {
    pub(crate) description: Vec<u8>,
    file: File,
    code_len: u64,
}

impl Cached {
    /// A path to the very file that was checked, whatever has happened to its name since.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/fd/{}", self.file.as_raw_fd()))
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn code_len(&self) -> u64 {
        self.code_len
    }

    /// The code, for where such a path leads nowhere.
    pub(crate) fn code(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.code_len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut code = vec![0; len];
        self.file.read_exact_at(&mut code, 0)?;
        Ok(code)
    }
}

/// The folder of compiled code.
pub(crate) struct CodeCache {
    path: PathBuf,
    dir: OwnedFd,
    writes: AtomicU64,
}

impl CodeCache {
    /// Opens the folder, made if it is missing.
    ///
    /// # Errors
    /// When it is not a folder that this user alone can write.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&dir)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it belongs to another user",
            ));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "others can write to it",
            ));
        }
        if stat.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&dir, Mode::RWXU)?;
        }
        Ok(Self {
            path: path.to_owned(),
            dir,
            writes: AtomicU64::new(0),
        })
    }

    /// The entry of `key`, if there is one and every byte of it is as written. A bad one is removed.
    pub(crate) fn get(&self, key: Key) -> Option<Cached> {
        let name = key.file_name();
        let file = rustix::fs::openat(
            &self.dir,
            &name,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
        );
        let file = File::from(file.ok()?);
        let found = file.metadata().ok().filter(ours);
        let entry = found.as_ref().and_then(|found| read(file, found, key));
        match (&entry, found) {
            (Some(entry), Some(found)) => touch(&entry.file, &found),
            _ => {
                tracing::debug!(entry = name, "compiled code is damaged: removed");
                self.remove(key);
            }
        }
        entry
    }

    /// Keeps an entry; whether that worked is of no consequence.
    pub(crate) fn put(&self, key: Key, description: &[u8], code: &[u8]) {
        if let Err(error) = self.try_put(key, description, code) {
            tracing::debug!(%error, "compiled code is not kept");
        }
        if let Err(error) = self.prune(MAX_TOTAL_BYTES) {
            tracing::debug!(%error, "compiled code is not pruned");
        }
    }

    /// Keeps an entry whose `len` bytes of code are read from `code`.
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub(crate) fn put_from(
        &self,
        key: Key,
        description: &[u8],
        len: u64,
        code: &mut dyn Read,
    ) -> io::Result<()> {
        let lengths = lengths(description, len)?;
        let mut sum = checksum(key, &lengths);
        let mut chunk = vec![0; CHUNK_BYTES];
        self.write(key, |file| {
            let mut left = len;
            while left > 0 {
                let most = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
                let part = chunk.get_mut(..most).unwrap_or_default();
                code.read_exact(part)?;
                sum.update(part);
                file.write_all(part)?;
                left -= most as u64;
            }
            sum.update(description);
            let sum = sum.digest128().to_le_bytes();
            [description, MAGIC, &lengths, &sum]
                .iter()
                .try_for_each(|part| file.write_all(part))
        })?;
        if let Err(error) = self.prune(MAX_TOTAL_BYTES) {
            tracing::debug!(%error, "compiled code is not pruned");
        }
        Ok(())
    }

    /// Removes an entry that is of no use.
    pub(crate) fn remove(&self, key: Key) {
        let _ = rustix::fs::unlinkat(&self.dir, key.file_name(), AtFlags::empty());
    }

    fn try_put(&self, key: Key, description: &[u8], code: &[u8]) -> io::Result<()> {
        let trailer = trailer(key, description, code)?;
        let parts = [code, description, &trailer];
        self.write(key, |file| {
            parts.iter().try_for_each(|part| file.write_all(part))
        })
    }

    /// Writes an entry beside its name and gives it the name.
    fn write(&self, key: Key, content: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let count = self.writes.fetch_add(1, Ordering::Relaxed);
        let temporary = format!(".{}.{count}.tmp", std::process::id());
        let written = self.write_new(&temporary, content);
        let renamed = written.and_then(|()| {
            Ok(rustix::fs::renameat(
                &self.dir,
                &temporary,
                &self.dir,
                key.file_name(),
            )?)
        });
        if renamed.is_err() {
            let _ = rustix::fs::unlinkat(&self.dir, &temporary, AtFlags::empty());
        }
        renamed
    }

    fn write_new(
        &self,
        name: &str,
        content: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(
            &self.dir,
            name,
            flags,
            Mode::RUSR | Mode::WUSR,
        )?);
        content(&mut file)
    }

    /// Removes the entries used longest ago until all of them take at most `most` bytes, and what killed writers left.
    fn prune(&self, most: u64) -> io::Result<()> {
        let mut entries = Vec::new();
        let mut total = 0u64;
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            total = total.saturating_add(metadata.len());
            entries.push((used, metadata.len(), entry.file_name()));
        }
        if total <= most {
            return Ok(());
        }
        entries.sort();
        for (_, bytes, name) in entries {
            if total <= most {
                break;
            }
            if rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()).is_ok() {
                total = total.saturating_sub(bytes);
            }
        }
        Ok(())
    }
}

/// Whether this user alone can have written the entry: the folder may once have been open to others.
fn ours(found: &Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
}

/// Marks an entry as used, for pruning. Once an hour is enough.
fn touch(file: &File, found: &Metadata) {
    let now = SystemTime::now();
    let used = found.modified().unwrap_or(now);
    if now
        .duration_since(used)
        .is_ok_and(|age| age.as_secs() > 3600)
    {
        let _ = file.set_modified(now);
    }
}

fn checksum(key: Key, lengths: &[u8]) -> Xxh3 {
    let mut hasher = Xxh3::new();
    hasher.update(&key.0);
    hasher.update(lengths);
    hasher
}

/// The two lengths of a trailer.
fn lengths(description: &[u8], code_len: u64) -> io::Result<[u8; 12]> {
    let len = u32::try_from(description.len());
    let len = len.map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut lengths = [0; 12];
    let (first, rest) = lengths.split_at_mut(4);
    first.copy_from_slice(&len.to_le_bytes());
    rest.copy_from_slice(&code_len.to_le_bytes());
    Ok(lengths)
}

fn trailer(key: Key, description: &[u8], code: &[u8]) -> io::Result<Vec<u8>> {
    let lengths = lengths(description, code.len() as u64)?;
    let mut trailer = Vec::with_capacity(TRAILER_BYTES);
    trailer.extend_from_slice(MAGIC);
    trailer.extend_from_slice(&lengths);
    let mut sum = checksum(key, &lengths);
    sum.update(code);
    sum.update(description);
    trailer.extend_from_slice(&sum.digest128().to_le_bytes());
    Ok(trailer)
}

/// Reads and checks an entry; None whatever is wrong with it.
fn read(file: File, found: &Metadata, key: Key) -> Option<Cached> {
    let size = found.len();
    if !found.is_file() || size > MAX_ENTRY_BYTES {
        return None;
    }
    let body = size.checked_sub(TRAILER_BYTES as u64)?;
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, body).ok()?;
    let (magic, rest) = trailer.split_first_chunk::<8>()?;
    let (lengths, sum) = rest.split_first_chunk::<12>()?;
    let (description_len, code_len) = lengths.split_first_chunk::<4>()?;
    let description_len = u64::from(u32::from_le_bytes(*description_len));
    let code_len = u64::from_le_bytes(code_len.try_into().ok()?);
    if magic != MAGIC
        || description_len > MAX_DESCRIPTION_BYTES
        || code_len.checked_add(description_len) != Some(body)
    {
        return None;
    }
    let mut hasher = checksum(key, lengths);
    let mut chunk = [0; CHUNK_BYTES];
    let mut at = 0;
    while at < code_len {
        let len = usize::try_from(code_len - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let part = chunk.get_mut(..len)?;
        file.read_exact_at(part, at).ok()?;
        hasher.update(part);
        at += len as u64;
    }
    let mut description = vec![0; usize::try_from(description_len).ok()?];
    file.read_exact_at(&mut description, code_len).ok()?;
    hasher.update(&description);
    (hasher.digest128().to_le_bytes() == *sum).then_some(Cached {
        description,
        file,
        code_len,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const KEY: Key = Key([7; 32]);

    fn cache() -> (tempfile::TempDir, CodeCache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(&dir.path().join("code")).unwrap();
        (dir, cache)
    }

    #[test]
    fn what_was_put_is_got() {
        let (_dir, cache) = cache();
        assert!(cache.get(KEY).is_none());
        cache.put(KEY, b"what", b"code");
        let entry = cache.get(KEY).unwrap();
        assert_eq!(
            (&entry.description[..], &entry.code().unwrap()[..]),
            (&b"what"[..], &b"code"[..])
        );
        let mapped = std::fs::read(entry.path()).unwrap();
        assert!(mapped.starts_with(b"codewhat"), "the file that was checked");
        assert!(cache.get(Key([8; 32])).is_none());
        let mode = std::fs::metadata(&cache.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn what_is_read_from_elsewhere_is_got_as_if_it_was_put() {
        let (_dir, cache) = cache();
        cache.put_from(KEY, b"what", 4, &mut &b"code"[..]).unwrap();
        let entry = cache.get(KEY).unwrap();
        assert_eq!(
            (&entry.description[..], &entry.code().unwrap()[..]),
            (&b"what"[..], &b"code"[..])
        );
        let other = Key([8; 32]);
        let short = cache.put_from(other, b"what", 5, &mut &b"code"[..]);
        assert!(short.is_err() && cache.get(other).is_none());
        let left = std::fs::read_dir(&cache.path).unwrap().count();
        assert_eq!(left, 1, "nothing is left of what did not work");
    }

    #[test]
    fn any_flipped_byte_any_cut_and_any_other_name_is_a_miss() {
        let (_dir, cache) = cache();
        cache.put(KEY, b"what", b"code");
        let path = cache.path.join(KEY.file_name());
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(cache.get(KEY).is_none(), "byte {at} flipped");
            assert!(!path.exists(), "a bad entry is removed");
        }
        for len in 0..good.len() {
            std::fs::write(&path, &good[..len]).unwrap();
            assert!(cache.get(KEY).is_none(), "cut to {len}");
        }
        std::fs::write(&path, [&good[..], b"x"].concat()).unwrap();
        assert!(cache.get(KEY).is_none(), "a byte too long");
        std::fs::write(cache.path.join(Key([8; 32]).file_name()), &good).unwrap();
        assert!(
            cache.get(Key([8; 32])).is_none(),
            "the entry of another key"
        );
        std::fs::write(&path, &good).unwrap();
        assert!(cache.get(KEY).is_some());
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(CodeCache::open(dir.path()).is_err());
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(CodeCache::open(dir.path()).is_ok());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(CodeCache::open(&link).is_err());
    }

    #[test]
    fn an_entry_that_is_a_link_is_a_miss() {
        let (dir, cache) = cache();
        cache.put(KEY, b"what", b"code");
        let path = cache.path.join(KEY.file_name());
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(cache.get(KEY).is_none());
    }

    #[test]
    fn pruning_removes_the_oldest() {
        let (_dir, cache) = cache();
        for n in 0..4u8 {
            cache.put(Key([n; 32]), b"", &[0; 1000]);
            let file = File::open(cache.path.join(Key([n; 32]).file_name())).unwrap();
            let when = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(n));
            file.set_modified(when).unwrap();
        }
        cache.prune(2500).unwrap();
        let kept: Vec<bool> = (0..4u8)
            .map(|n| cache.path.join(Key([n; 32]).file_name()).exists())
            .collect();
        assert_eq!(kept, [false, false, true, true]);
    }
}
