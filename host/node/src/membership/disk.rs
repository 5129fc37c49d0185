//! What a membership keeps in `$data/mesh/`, and when it has changed.
//!
//! | file | what |
//! |---|---|
//! | `mesh.key` | the mesh key, where the mesh was made here and the key was not taken away since |
//! | `certificate` | this node's chain, in its canonical encoding |
//! | `revocations` | the newest list, likewise |
//! | `tickets.json` | hashes of the tickets that were given out here |
//! | `lock` | held while any of them is changed |
//!
//! Every file is replaced whole and durably ([`crate::durable`]). A damaged certificate or list is an error, never
//! taken for a missing one: a revocation must not be forgotten. It never judges what it reads. Called by the membership.

use std::path::{Path, PathBuf};

use sykli_core::membership::{Chain, FormatError, MAX_FRAME_BYTES, Revocations, Signed};

use super::{MembershipError, peers};
use crate::durable::{self, Lock, Stamp};
use crate::identity::Identity;

/// The folders of one node.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    data: PathBuf,
    mesh: PathBuf,
}

impl Folder {
    pub(super) fn new(data: &Path) -> Folder {
        Folder {
            data: data.to_owned(),
            mesh: data.join("mesh"),
        }
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn mesh_key_file(&self) -> PathBuf {
        self.mesh.join("mesh.key")
    }

    pub(super) fn tickets_file(&self) -> PathBuf {
        self.mesh.join("tickets.json")
    }

    fn chain_file(&self) -> PathBuf {
        self.mesh.join("certificate")
    }

    fn revocations_file(&self) -> PathBuf {
        self.mesh.join("revocations")
    }

    /// Keeps other processes from changing anything here; makes the folder where it is missing.
    pub(super) fn lock(&self) -> Result<Lock, MembershipError> {
        let io = |error: &std::io::Error| MembershipError::io(&self.mesh, error);
        crate::paths::create_private(&self.mesh)
            .map_err(|error| io(&std::io::Error::other(error.to_string())))?;
        Lock::exclusive(&self.mesh.join("lock")).map_err(|error| io(&error))
    }

    pub(super) fn mesh_key(&self) -> Result<Option<Identity>, MembershipError> {
        Ok(Identity::read_file(&self.mesh_key_file())?)
    }

    pub(super) fn chain(&self) -> Result<Option<Chain>, MembershipError> {
        read(&self.chain_file(), Chain::decode)
    }

    pub(super) fn revocations(&self) -> Result<Option<Signed<Revocations>>, MembershipError> {
        read(&self.revocations_file(), Signed::decode)
    }

    pub(super) fn store_chain(&self, chain: &Chain) -> Result<(), MembershipError> {
        write(&self.chain_file(), &chain.encode())
    }

    pub(super) fn store_revocations(
        &self,
        list: &Signed<Revocations>,
    ) -> Result<(), MembershipError> {
        write(&self.revocations_file(), &list.encode())
    }

    /// Removes what makes this node a member; the certificate last, so that what is left half done can be done again.
    pub(super) fn clear(&self) -> Result<(), MembershipError> {
        for path in [
            self.tickets_file(),
            self.revocations_file(),
            self.chain_file(),
        ] {
            durable::remove(&path).map_err(|error| MembershipError::io(&path, &error))?;
        }
        Ok(())
    }

    /// Which files are there now, of those that a judgement depends on.
    pub(super) fn stamps(&self) -> [Stamp; 3] {
        [
            Stamp::of(&self.chain_file()),
            Stamp::of(&self.revocations_file()),
            Stamp::of(&peers::file(&self.data)),
        ]
    }
}

fn read<T>(
    path: &Path,
    decode: impl FnOnce(&[u8]) -> Result<T, FormatError>,
) -> Result<Option<T>, MembershipError> {
    let bytes = durable::read(path, MAX_FRAME_BYTES);
    let Some(bytes) = bytes.map_err(|error| MembershipError::io(path, &error))? else {
        return Ok(None);
    };
    let value = decode(&bytes).map_err(|error| MembershipError::Damaged {
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    Ok(Some(value))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), MembershipError> {
    durable::replace(path, bytes).map_err(|error| MembershipError::io(path, &error))
}
