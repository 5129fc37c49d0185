//! Compiles a component of somebody else's in a child that sees nothing but its bytes.
//!
//! The checks before compiling run there, too. What comes back is put on the shelf that this process never loads from
//! (`sykli_runtime::CodeShelf`): a child may have been overcome by what it compiled. A child that dies or takes too long is
//! a fault under the task, as any other. Blocks its thread. Called by `foreign`.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use sykli_core::id::Digest;
use sykli_runtime::{CancelToken, Code, Floats};

use super::child::{Child, Heard};
use super::confine::COMPILE_SECONDS;
use super::message::{ToChild, ToParent};
use super::{CodeOf, Isolation, Kind, Lost};
use crate::store::{InputFaults, Lent, Store};

/// How long compiling may take; the child's own bound on a processor's time is shorter.
const LONGEST: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// Components that were refused lately: who sends one again has it refused again, and nothing compiled.
#[derive(Default)]
pub(super) struct Refused(VecDeque<(CodeOf, String)>);

impl Refused {
    /// As many as are remembered.
    const MOST: usize = 256;

    fn get(&self, id: &CodeOf) -> Option<String> {
        let found = self.0.iter().find(|(known, _)| known == id);
        found.map(|(_, why)| why.clone())
    }

    fn note(&mut self, id: CodeOf, why: &str) {
        self.0.truncate(Refused::MOST - 1);
        self.0.push_front((id, why.to_owned()));
    }
}

impl Isolation {
    /// The compiled code of a component of the store, compiled now where it is not known.
    ///
    /// # Errors
    /// Where it cannot be used, or compiling it failed.
    pub(crate) fn code(
        &self,
        store: &Store,
        component: &Digest,
        floats: Floats,
        cancel: &CancelToken,
    ) -> Result<Code, Lost> {
        let digest = component.0;
        if let Some(code) = self.shelf.get(digest, floats) {
            return Ok(code);
        }
        let turn = {
            let mut compiling = crate::db::lock(&self.compiling);
            compiling.entry((digest, floats)).or_default().clone()
        };
        let _turn = crate::db::lock(&turn);
        if let Some(code) = self.shelf.get(digest, floats) {
            return Ok(code);
        }
        if let Some(why) = crate::db::lock(&self.refused).get(&(digest, floats)) {
            return Err(Lost::Component(why));
        }
        let made = self.compile(store, component, floats, cancel);
        if let Err(Lost::Component(why)) = &made {
            crate::db::lock(&self.refused).note((digest, floats), why);
        }
        crate::db::lock(&self.compiling).remove(&(digest, floats));
        made
    }

    fn compile(
        &self,
        store: &Store,
        component: &Digest,
        floats: Floats,
        cancel: &CancelToken,
    ) -> Result<Code, Lost> {
        let bytes = store.lend(component, &InputFaults::default());
        let bytes = bytes.ok_or(Lost::Missing)?;
        let child = self.pool.take(Kind::Sealed, cancel)?;
        let mut coming = Coming {
            child,
            cancel,
            until: Instant::now() + LONGEST,
            part: Vec::new(),
            at: 0,
            lost: None,
        };
        coming.begin(floats, &bytes)?;
        let (description, len) = coming.description()?;
        let kept = self.shelf.put(
            component.0,
            floats,
            description.as_bytes(),
            len,
            &mut coming,
        );
        kept.map_err(|error| coming.lost.take().unwrap_or(Lost::Disk(error)))
    }
}

/// Compiled code on its way here.
struct Coming<'a> {
    child: Child,
    cancel: &'a CancelToken,
    until: Instant,
    part: Vec<u8>,
    at: usize,
    /// Why no more comes.
    lost: Option<Lost>,
}

impl Coming<'_> {
    fn begin(&mut self, floats: Floats, component: &Lent) -> Result<(), Lost> {
        let told = match component {
            Lent::Bytes(bytes) => {
                let compile = ToChild::Compile {
                    floats,
                    bytes: None,
                };
                self.child.tell(&compile, bytes, None)
            }
            Lent::File(file) => {
                let len = file.metadata().map_err(Lost::Disk)?.len();
                let compile = ToChild::Compile {
                    floats,
                    bytes: Some(len),
                };
                self.child.tell(&compile, &[], Some(file.as_fd()))
            }
        };
        told.map_err(|_| self.died())
    }

    /// A component that uses up what compiling may take is refused; whatever else kills a compiler is a fault.
    fn died(&mut self) -> Lost {
        let death = self.child.death();
        match death.is_of_time() {
            true => Lost::Component(format!(
                "compiling it takes more than {COMPILE_SECONDS} seconds of a processor"
            )),
            false => Lost::Died(format!("{death} while it compiled")),
        }
    }

    fn description(&mut self) -> Result<(String, u64), Lost> {
        match self.next()? {
            (
                ToParent::Compiled {
                    description,
                    code_bytes,
                },
                _,
            ) => Ok((description, code_bytes)),
            (ToParent::Refused { message }, _) => Err(Lost::Component(message)),
            _ => Err(Lost::Broken("no compiled code".to_owned())),
        }
    }

    fn next(&mut self) -> Result<(ToParent, Vec<u8>), Lost> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(Lost::Stopped);
            }
            if Instant::now() >= self.until {
                return Err(Lost::Died("compiling took too long".to_owned()));
            }
            match self.child.hear(LOOK) {
                Ok(Heard::Message(message, body)) => return Ok((message, body)),
                Ok(Heard::Nothing) => {}
                Ok(Heard::End) => return Err(self.died()),
                Err(error) => return Err(Lost::Broken(error.to_string())),
            }
        }
    }
}

impl Read for Coming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.part.len() {
            let lost = match self.next() {
                Ok((ToParent::Code, part)) => {
                    (self.part, self.at) = (part, 0);
                    continue;
                }
                Ok(_) => Lost::Broken("not compiled code".to_owned()),
                Err(lost) => lost,
            };
            let error = io::Error::other(lost.to_string());
            self.lost = Some(lost);
            return Err(error);
        }
        let rest = self.part.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}
