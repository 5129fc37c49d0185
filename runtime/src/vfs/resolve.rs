//! From a path to a node: the only way a guest's path is walked.
//!
//! A path starts at a directory the guest holds and never leaves it, by no route: an absolute path, `..` above the
//! start and a link that does either are refused with `not-permitted`. Links and steps are bounded. The host has no
//! part in it. Called by `ops.rs` and, for links that are collected, by `collect.rs`.

use super::error::{FsError, FsResult};
use super::node::{Kind, NodeId, Nodes};
use super::{MAX_NAME_BYTES, MAX_PATH_BYTES};

/// Links followed on one way, as on Linux.
const MAX_LINKS: u32 = 40;
/// Names looked up on one way, those inside links included: what one call of a guest may cost.
const MAX_STEPS: u32 = 4096;

/// What to do when the path itself ends in a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastLink {
    /// Follow it.
    Follow,
    /// Stay on it, except before a `/` at the end, which asks for what it leads to.
    StopUnlessSlash,
    /// Stay on it, whatever follows.
    Stop,
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) last: Last,
    /// The path ends in `/` or `.`: only a directory will do.
    pub(crate) wants_dir: bool,
}

/// The end of a path.
#[derive(Debug)]
pub(crate) enum Last {
    /// A name in a directory, taken or free.
    Name {
        parent: NodeId,
        name: String,
        node: Option<NodeId>,
    },
    /// A directory without the name it is reached by: the start itself, or a path that ends in `.`.
    Here(NodeId),
    /// As `Here`, for a path that ends in `..`.
    Above(NodeId),
}

impl Found {
    /// The node there, which must be a directory if the path says so.
    pub(crate) fn existing(&self, nodes: &Nodes) -> FsResult<NodeId> {
        let id = match &self.last {
            Last::Name { node, .. } => node.ok_or(FsError::NoEntry)?,
            Last::Here(id) | Last::Above(id) => *id,
        };
        if self.wants_dir {
            nodes.dir(id)?;
        }
        Ok(id)
    }
}

/// What is left of a path: the text and where to go on in it.
struct Rest {
    text: String,
    at: usize,
}

impl Rest {
    /// The next name.
    fn next(&mut self) -> Option<Part> {
        let rest = self.text.get(self.at..).unwrap_or("");
        let rest = rest.trim_start_matches('/');
        if rest.is_empty() {
            return None;
        }
        let name_len = rest.find('/').unwrap_or(rest.len());
        let (name, after) = rest.split_at(name_len);
        let is_last = after.trim_start_matches('/').is_empty();
        self.at = self.text.len() - after.len();
        Some(Part {
            name: name.to_owned(),
            is_last,
            slash: !after.is_empty(),
        })
    }
}

impl Way {
    /// Goes on with a link's target before what is left.
    fn follow(&mut self, target: &str) -> FsResult<()> {
        check_target(target)?;
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(FsError::Loop);
        }
        let rest = self.rest.text.get(self.rest.at..).unwrap_or("");
        if target.len() + rest.len() > 2 * MAX_PATH_BYTES {
            return Err(FsError::NameTooLong);
        }
        self.rest = Rest {
            text: format!("{target}{rest}"),
            at: 0,
        };
        self.last = Last::Here(self.dir);
        Ok(())
    }
}

/// Whether a link's target may be shown or followed at all.
pub(crate) fn check_target(target: &str) -> FsResult<()> {
    match target {
        "" => Err(FsError::NoEntry),
        _ if target.starts_with('/') => Err(FsError::NotPermitted),
        _ if target.len() > MAX_PATH_BYTES => Err(FsError::NameTooLong),
        _ if target.contains('\0') => Err(FsError::Invalid),
        _ => Ok(()),
    }
}

/// A walk that is under way.
struct Way {
    base: NodeId,
    dir: NodeId,
    /// Where the path ends if nothing follows.
    last: Last,
    rest: Rest,
    last_link: LastLink,
    links: u32,
    steps: u32,
}

/// One name of a path.
struct Part {
    name: String,
    is_last: bool,
    /// A `/` follows.
    slash: bool,
}

impl Nodes {
    /// Walks `path` from the directory `base`. The last name need not exist, everything before it must.
    pub(crate) fn resolve(
        &mut self,
        base: NodeId,
        path: &str,
        last_link: LastLink,
    ) -> FsResult<Found> {
        self.dir(base)?;
        check_target(path)?;
        if self.get(base)?.links == 0 {
            // Removed while it was open: it is still there for its handle, and empty for good.
            let is_here = path.split('/').all(|part| matches!(part, "" | "."));
            let here = Found {
                last: Last::Here(base),
                wants_dir: true,
            };
            return if is_here {
                Ok(here)
            } else {
                Err(FsError::NoEntry)
            };
        }
        let rest = Rest {
            text: path.to_owned(),
            at: 0,
        };
        let last = Last::Here(base);
        let mut way = Way {
            base,
            dir: base,
            last,
            rest,
            last_link,
            links: 0,
            steps: 0,
        };
        while let Some(part) = way.rest.next() {
            way.steps += 1;
            if way.steps > MAX_STEPS {
                return Err(FsError::Loop);
            }
            if let Some(found) = self.step(&mut way, part)? {
                return Ok(found);
            }
        }
        Ok(Found {
            last: way.last,
            wants_dir: true,
        })
    }

    /// Goes on by one name; answers where the path ends, if it does.
    fn step(&mut self, way: &mut Way, part: Part) -> FsResult<Option<Found>> {
        match part.name.as_str() {
            "." => {
                way.last = Last::Here(way.dir);
                return Ok(None);
            }
            ".." if way.dir == way.base => return Err(FsError::NotPermitted),
            ".." => {
                way.dir = self.dir(way.dir)?.parent.ok_or(FsError::NotPermitted)?;
                way.last = Last::Above(way.dir);
                return Ok(None);
            }
            name if name.len() > MAX_NAME_BYTES => return Err(FsError::NameTooLong),
            _ => {}
        }
        let node = self.lookup(way.dir, &part.name)?;
        let kind = node
            .map(|id| self.get(id))
            .transpose()?
            .map(|node| &node.kind);
        let stay = part.is_last
            && match way.last_link {
                LastLink::Follow => false,
                LastLink::StopUnlessSlash => !part.slash,
                LastLink::Stop => true,
            };
        match kind {
            Some(Kind::Symlink { target, .. }) if !stay => way.follow(target)?,
            _ if part.is_last => {
                let last = Last::Name {
                    parent: way.dir,
                    name: part.name,
                    node,
                };
                return Ok(Some(Found {
                    last,
                    wants_dir: part.slash,
                }));
            }
            Some(Kind::Dir(_)) => {
                way.dir = node.ok_or(FsError::NoEntry)?;
                way.last = Last::Here(way.dir);
            }
            Some(_) => return Err(FsError::NotDirectory),
            None => return Err(FsError::NoEntry),
        }
        Ok(None)
    }

    /// Whether `id` is `dir` or lies in it.
    ///
    /// # Errors
    /// [`FsError::NameTooLong`] where the tree is deeper than any path.
    pub(crate) fn is_within(&self, id: NodeId, dir: NodeId) -> FsResult<bool> {
        let mut at = id;
        for _ in 0..MAX_STEPS {
            if at == dir {
                return Ok(true);
            }
            match self.dir(at)?.parent {
                Some(parent) => at = parent,
                None => return Ok(false),
            }
        }
        Err(FsError::NameTooLong)
    }
}
