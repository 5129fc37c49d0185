//! Filling in a task's templates for each instance, sharing all that has no placeholder.
//!
//! Knows nothing of files. What is filled in is bounded by a [`Budget`], since a short pipeline can ask for very much.
//! Caller: [`super::build`].

use std::sync::Arc;

use super::MAX_FILLED_BYTES;
use crate::diagnostic::{Diagnostic, quote};
use crate::glob::{Pattern, check_path};
use crate::pipeline::Task;
use crate::template::{Bindings, Escape, Template};

/// How much was filled in, over all tasks.
#[derive(Default)]
pub(super) struct Budget {
    spent_bytes: u64,
    /// Where texts are put together; kept, so that a text costs one allocation.
    scratch: String,
}

impl Budget {
    fn spend(&mut self, bytes: usize) {
        self.spent_bytes = self.spent_bytes.saturating_add(bytes as u64);
    }

    /// Fills in one template.
    fn fill(&mut self, template: &Template, bindings: &Bindings<'_>, escape: Escape) -> &str {
        template.fill_into(&mut self.scratch, bindings, escape);
        self.spend(self.scratch.len());
        &self.scratch
    }

    pub(super) fn is_spent(&self) -> bool {
        self.spent_bytes > MAX_FILLED_BYTES
    }
}

/// What of an instance comes from templates.
pub(super) struct Filled {
    pub(super) args: Arc<[Arc<str>]>,
    pub(super) params_json: Arc<str>,
    pub(super) outputs: Arc<[Pattern]>,
    pub(super) stdin: Option<Arc<str>>,
}

/// A task's templates, those without placeholders filled in once.
pub(super) struct Filler<'a> {
    task: &'a Task,
    args: Vec<Constant<'a, Arc<str>>>,
    all_args: Option<Arc<[Arc<str>]>>,
    params_json: Option<Arc<str>>,
    outputs: Vec<Constant<'a, Pattern>>,
    all_outputs: Option<Arc<[Pattern]>>,
}

enum Constant<'a, T> {
    Same(T),
    Differs(&'a Template),
}

impl<'a> Filler<'a> {
    pub(super) fn new(task: &'a Task) -> Filler<'a> {
        let args: Vec<_> = task
            .args
            .iter()
            .map(|one| {
                one.as_constant()
                    .map_or(Constant::Differs(one), |text| Constant::Same(text.into()))
            })
            .collect();
        let outputs: Vec<_> = task
            .outputs
            .iter()
            .map(|one| match one.as_constant().map(Pattern::new) {
                Some(Ok(pattern)) => Constant::Same(pattern),
                _ => Constant::Differs(one),
            })
            .collect();
        Filler {
            task,
            all_args: all_same(&args),
            args,
            params_json: task.params_json.as_constant().map(Arc::from),
            all_outputs: all_same(&outputs),
            outputs,
        }
    }

    /// Refuses what so many instances cannot but exceed, before any is made.
    ///
    /// # Errors
    /// When the lists alone are too much.
    pub(super) fn admit(&self, count: u32, budget: &Budget) -> Result<(), Diagnostic> {
        let args = if self.all_args.is_some() {
            0
        } else {
            self.args.len() * size_of::<Arc<str>>()
        };
        let outputs = if self.all_outputs.is_some() {
            0
        } else {
            self.outputs.len() * size_of::<Pattern>()
        };
        let least = (args as u64 + outputs as u64).saturating_mul(count.into());
        if budget.spent_bytes.saturating_add(least) > MAX_FILLED_BYTES {
            Err(self.too_much())
        } else {
            Ok(())
        }
    }

    fn too_much(&self) -> Diagnostic {
        let name = &self.task.name;
        let message = format!(
            "up to task `{name}`, what all instances are told takes more than {MAX_FILLED_BYTES} bytes"
        );
        self.task
            .origins
            .foreach
            .diagnostic("pipeline::too-large", message)
            .label("too much")
    }

    /// Fills in everything for one instance.
    ///
    /// # Errors
    /// An item that makes no path, or too much of everything.
    pub(super) fn fill(
        &self,
        item: Option<&str>,
        index: u32,
        count: u32,
        keys: &[(&str, &str)],
        budget: &mut Budget,
    ) -> Result<Filled, Diagnostic> {
        let bindings = Bindings {
            item: item.unwrap_or_default(),
            index,
            count,
            keys,
        };
        let args = match &self.all_args {
            Some(args) => Arc::clone(args),
            None => self
                .args
                .iter()
                .map(|arg| fill_arg(arg, &bindings, budget))
                .collect(),
        };
        let params_json = match &self.params_json {
            Some(json) => Arc::clone(json),
            None => budget
                .fill(&self.task.params_json, &bindings, Escape::Json)
                .into(),
        };
        let outputs = match &self.all_outputs {
            Some(outputs) => Arc::clone(outputs),
            None => self.fill_outputs(&bindings, budget)?,
        };
        let stdin = self
            .task
            .stdin
            .as_ref()
            .map(|template| self.fill_stdin(template, &bindings))
            .transpose()?;
        if budget.is_spent() {
            return Err(self.too_much());
        }
        Ok(Filled {
            args,
            params_json,
            outputs,
            stdin,
        })
    }

    fn fill_outputs(
        &self,
        bindings: &Bindings<'_>,
        budget: &mut Budget,
    ) -> Result<Arc<[Pattern]>, Diagnostic> {
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (tag, output) in self.outputs.iter().enumerate() {
            budget.spend(size_of::<Pattern>());
            let template = match output {
                Constant::Same(pattern) => {
                    outputs.push(pattern.clone());
                    continue;
                }
                Constant::Differs(template) => template,
            };
            let text = budget.fill(template, bindings, Escape::Glob);
            let pattern = Pattern::new(text).map_err(|error| {
                let at = self
                    .task
                    .origins
                    .outputs
                    .get(tag)
                    .unwrap_or(&self.task.origins.name);
                let message = format!(
                    "filled in, {} gives {}, which {error}",
                    quote(template.as_str()),
                    quote(text)
                );
                at.diagnostic("pipeline::bad-path", message)
                    .label("not a path in the project")
            })?;
            outputs.push(pattern);
        }
        Ok(outputs.into())
    }

    fn fill_stdin(
        &self,
        template: &Template,
        bindings: &Bindings<'_>,
    ) -> Result<Arc<str>, Diagnostic> {
        let path = template.fill(bindings, Escape::Plain);
        match check_path(&path) {
            Ok(()) => Ok(path.into()),
            Err(error) => {
                let message = format!(
                    "filled in, {} gives {}, which {error}",
                    quote(template.as_str()),
                    quote(&path)
                );
                Err(self
                    .task
                    .origins
                    .stdin
                    .diagnostic("pipeline::bad-path", message)
                    .label("not a path in the project"))
            }
        }
    }
}

fn fill_arg(
    arg: &Constant<'_, Arc<str>>,
    bindings: &Bindings<'_>,
    budget: &mut Budget,
) -> Arc<str> {
    budget.spend(size_of::<Arc<str>>());
    match arg {
        Constant::Same(text) => Arc::clone(text),
        Constant::Differs(template) => budget.fill(template, bindings, Escape::Plain).into(),
    }
}

/// The whole list, where every entry is the same in all instances.
fn all_same<T: Clone>(entries: &[Constant<'_, T>]) -> Option<Arc<[T]>> {
    let same: Option<Vec<T>> = entries
        .iter()
        .map(|entry| {
            if let Constant::Same(value) = entry {
                Some(value.clone())
            } else {
                None
            }
        })
        .collect();
    same.map(Arc::from)
}
