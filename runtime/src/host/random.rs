//! `wasi:random`: bytes drawn from the run's seed, or from the host where that is granted.
//!
//! All three interfaces are seeded alike; they differ in the label that keys them, so that reading one does not move
//! another. The seed is the caller's (a task's digest), so two runs of one task draw the same bytes.

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::limits::RANDOM_BYTES;
use crate::outcome::Limit;
use crate::state::{End, GuestState};

/// Where the random numbers of one run come from.
pub(crate) enum Random {
    /// The host's generator.
    Host,
    /// The seed; streams start when first read.
    Seeded {
        seed: [u8; 32],
        secure: Option<Box<blake3::OutputReader>>,
        insecure: Option<Box<blake3::OutputReader>>,
    },
}

/// Which interface draws.
#[derive(Clone, Copy)]
enum Stream {
    Secure,
    Insecure,
}

fn stream(seed: &[u8; 32], label: &str) -> blake3::OutputReader {
    let mut hasher = blake3::Hasher::new_keyed(seed);
    hasher.update(b"sykli random 1 ");
    hasher.update(label.as_bytes());
    hasher.finalize_xof()
}

impl Random {
    pub(crate) fn new(from_host: bool, seed: [u8; 32]) -> Self {
        if from_host {
            Self::Host
        } else {
            Self::Seeded {
                seed,
                secure: None,
                insecure: None,
            }
        }
    }

    fn fill(&mut self, which: Stream, buf: &mut [u8]) -> wasmtime::Result<()> {
        match self {
            Self::Host => fill_from_host(buf),
            Self::Seeded {
                seed,
                secure,
                insecure,
            } => {
                let (slot, label) = match which {
                    Stream::Secure => (secure, "secure"),
                    Stream::Insecure => (insecure, "insecure"),
                };
                slot.get_or_insert_with(|| Box::new(stream(seed, label)))
                    .fill(buf);
                Ok(())
            }
        }
    }

    fn bytes(&mut self, which: Stream, len: u64) -> wasmtime::Result<Vec<u8>> {
        if len > RANDOM_BYTES {
            return Err(End::Limit(Limit::CallData {
                limit: RANDOM_BYTES,
            })
            .into());
        }
        let mut bytes = vec![0; usize::try_from(len)?];
        self.fill(which, &mut bytes)?;
        Ok(bytes)
    }

    fn u64(&mut self, which: Stream) -> wasmtime::Result<u64> {
        let mut bytes = [0; 8];
        self.fill(which, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The seed for hash maps: the same whenever it is asked for.
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        let mut halves = [[0; 8]; 2];
        match self {
            Self::Host => fill_from_host(halves.as_flattened_mut())?,
            Self::Seeded { seed, .. } => {
                stream(seed, "insecure-seed").fill(halves.as_flattened_mut())
            }
        }
        Ok((u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])))
    }
}

fn fill_from_host(mut buf: &mut [u8]) -> wasmtime::Result<()> {
    while !buf.is_empty() {
        match rustix::rand::getrandom(&mut *buf, rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => buf = buf.get_mut(n..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Links `wasi:random`.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    type Store<'a> = StoreContextMut<'a, GuestState>;

    let mut random = linker.instance(&super::wasi("random/random"))?;
    random.func_wrap(
        "get-random-bytes",
        |mut store: Store<'_>, (len,): (u64,)| {
            Ok((store.data_mut().random.bytes(Stream::Secure, len)?,))
        },
    )?;
    random.func_wrap("get-random-u64", |mut store: Store<'_>, (): ()| {
        Ok((store.data_mut().random.u64(Stream::Secure)?,))
    })?;

    let mut insecure = linker.instance(&super::wasi("random/insecure"))?;
    insecure.func_wrap(
        "get-insecure-random-bytes",
        |mut store: Store<'_>, (len,): (u64,)| {
            Ok((store.data_mut().random.bytes(Stream::Insecure, len)?,))
        },
    )?;
    insecure.func_wrap("get-insecure-random-u64", |mut store: Store<'_>, (): ()| {
        Ok((store.data_mut().random.u64(Stream::Insecure)?,))
    })?;

    let mut seed = linker.instance(&super::wasi("random/insecure-seed"))?;
    seed.func_wrap("insecure-seed", |mut store: Store<'_>, (): ()| {
        Ok((store.data_mut().random.insecure_seed()?,))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_seed_determines_every_stream_and_they_differ() {
        let mut a = Random::new(false, [7; 32]);
        let mut b = Random::new(false, [7; 32]);
        assert_eq!(a.insecure_seed().unwrap(), b.insecure_seed().unwrap());
        // Reading one stream of `a` first must not move the other.
        a.bytes(Stream::Insecure, 100).unwrap();
        assert_eq!(
            a.bytes(Stream::Secure, 1000).unwrap(),
            b.bytes(Stream::Secure, 1000).unwrap()
        );
        assert_ne!(
            a.u64(Stream::Secure).unwrap(),
            Random::new(false, [8; 32]).u64(Stream::Secure).unwrap()
        );
        let mut fresh = Random::new(false, [7; 32]);
        assert_ne!(
            fresh.u64(Stream::Secure).unwrap(),
            fresh.u64(Stream::Insecure).unwrap()
        );
    }

    #[test]
    fn one_call_is_bounded() {
        let error = Random::new(false, [0; 32])
            .bytes(Stream::Secure, RANDOM_BYTES + 1)
            .unwrap_err();
        assert!(matches!(
            error.downcast_ref(),
            Some(End::Limit(Limit::CallData { .. }))
        ));
    }

    #[test]
    fn the_hosts_bytes_differ_every_time() {
        let mut host = Random::new(true, [0; 32]);
        assert_ne!(
            host.bytes(Stream::Secure, 32).unwrap(),
            host.bytes(Stream::Secure, 32).unwrap()
        );
    }
}
