//! `--filter EXPR`: which instances of a plan a run wants.
//!
//! ```text
//! expr   = term { ("," | " ") term }      what any term selects …
//! term   = ["!"] ["+"] name ["+"]         … less what a term with ! selects
//! name   = task glob [ "[" label glob "]" ]
//! ```
//!
//! `shrink` is a declared task, `img-*` a glob over declared tasks, `shrink[3/16]` or `shrink[*.jpg]` instances by
//! what stands between the brackets of their label. `+name` adds every task it comes after, transitively; `name+`
//! every task that comes after it. An expression of exclusions alone starts from everything. A term that selects
//! nothing is an error: a misspelt filter must not pass for success.
//!
//! Parses and selects only: what a run does about needed but unselected tasks is `run`'s. Called by `run` and `plan`.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};
use sykli_core::expand::Plan;

/// More terms than anybody writes by hand.
const MAX_TERMS: usize = 256;
/// Longest expression, bytes.
const MAX_BYTES: usize = 16 * 1024;

/// A parsed filter expression.
#[derive(Clone, Debug)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug)]
struct Term {
    text: String,
    exclude: bool,
    upstream: bool,
    downstream: bool,
    task: GlobMatcher,
    label: Option<GlobMatcher>,
}

/// A filter that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No term in it.
    #[error("the filter is empty")]
    Empty,
    /// Beyond a bound.
    #[error("the filter is too long (at most {MAX_TERMS} terms, {MAX_BYTES} bytes)")]
    TooLong,
    /// A term that cannot be read.
    #[error("cannot read the filter term `{term}`: {reason}")]
    Malformed {
        /// As written.
        term: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A term that selects no instance.
    #[error("the filter term `{term}` matches no task")]
    NoMatch {
        /// As written.
        term: String,
        /// Declared tasks there are, bounded.
        tasks: Vec<String>,
    },
    /// Everything selected was excluded again.
    #[error("the filter selects no task")]
    NothingLeft,
}

impl FilterError {
    /// A way out.
    pub fn hint(&self) -> String {
        match self {
            FilterError::NoMatch { tasks, .. } => format!("the tasks are: {}", tasks.join(", ")),
            FilterError::NothingLeft => "drop one of the `!` terms".to_owned(),
            FilterError::Empty | FilterError::TooLong | FilterError::Malformed { .. } => {
                "write e.g. --filter 'test', 'img-*', 'shrink[3/16]', '+deploy' or '!slow'"
                    .to_owned()
            }
        }
    }
}

impl Filter {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`FilterError`] for what cannot be read; whether a term matches anything shows only against a plan.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        if text.len() > MAX_BYTES {
            return Err(FilterError::TooLong);
        }
        let terms = split_terms(text)
            .into_iter()
            .map(Term::parse)
            .collect::<Result<Vec<_>, _>>()?;
        match terms.len() {
            0 => Err(FilterError::Empty),
            n if n > MAX_TERMS => Err(FilterError::TooLong),
            _ => Ok(Filter { terms }),
        }
    }

    /// One flag an instance of `plan`: whether it is wanted.
    ///
    /// # Errors
    /// [`FilterError::NoMatch`] names the first term that selects nothing.
    pub fn select(&self, plan: &Plan) -> Result<Vec<bool>, FilterError> {
        let only_excludes = self.terms.iter().all(|term| term.exclude);
        let mut selected = vec![only_excludes; plan.tasks.len()];
        for excludes in [false, true] {
            for term in self.terms.iter().filter(|term| term.exclude == excludes) {
                term.apply(plan, &mut selected)?;
            }
        }
        if selected.iter().any(|wanted| *wanted) {
            Ok(selected)
        } else {
            Err(FilterError::NothingLeft)
        }
    }
}

/// Commas and blanks separate terms, but not inside brackets, where a label may hold either.
fn split_terms(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(move |c: char| {
        match c {
            '[' => depth = depth.saturating_add(1),
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (c == ',' || c.is_whitespace())
    })
    .filter(|term| !term.is_empty())
    .collect()
}

impl Term {
    fn parse(text: &str) -> Result<Term, FilterError> {
        let malformed = |reason: &str| FilterError::Malformed {
            term: text.to_owned(),
            reason: reason.to_owned(),
        };
        let (exclude, rest) = strip(text, |t| t.strip_prefix('!'));
        let (upstream, rest) = strip(rest, |t| t.strip_prefix('+'));
        let (downstream, rest) = strip(rest, |t| t.strip_suffix('+'));
        let (task, label) = match rest.split_once('[') {
            Some((task, label)) => {
                let label = label
                    .strip_suffix(']')
                    .ok_or_else(|| malformed("`[` is not closed by a final `]`"))?;
                (task, Some(label))
            }
            None => (rest, None),
        };
        if task.is_empty() {
            return Err(malformed("a task name or glob is missing"));
        }
        let glob = |pattern: &str| {
            GlobBuilder::new(pattern)
                .literal_separator(false)
                .build()
                .map(|glob| glob.compile_matcher())
                .map_err(|error| malformed(&error.kind().to_string()))
        };
        Ok(Term {
            text: text.to_owned(),
            exclude,
            upstream,
            downstream,
            task: glob(task)?,
            label: label.map(glob).transpose()?,
        })
    }

    fn apply(&self, plan: &Plan, selected: &mut [bool]) -> Result<(), FilterError> {
        let tasks = &plan.pipeline.tasks;
        let mut matched = BTreeSet::new();
        for (instance, wanted) in plan.tasks.iter().zip(selected.iter_mut()) {
            let Some(task) = tasks.get(instance.task) else {
                continue;
            };
            if self.task.is_match(&task.name) && self.label_matches(&task.name, &instance.label) {
                matched.insert(instance.task);
                *wanted = !self.exclude;
            }
        }
        if matched.is_empty() {
            let tasks = tasks
                .iter()
                .take(20)
                .map(|task| task.name.clone())
                .collect();
            return Err(FilterError::NoMatch {
                term: self.text.clone(),
                tasks,
            });
        }
        let mut reached = BTreeSet::new();
        if self.upstream {
            reached.extend(closure(&matched, |task| {
                tasks.get(task).map_or(Vec::new(), |t| t.after.clone())
            }));
        }
        if self.downstream {
            let after = |task| {
                (0..tasks.len())
                    .filter(|i| tasks.get(*i).is_some_and(|t| t.after.contains(&task)))
                    .collect()
            };
            reached.extend(closure(&matched, after));
        }
        for (instance, wanted) in plan.tasks.iter().zip(selected.iter_mut()) {
            if reached.contains(&instance.task) {
                *wanted = !self.exclude;
            }
        }
        Ok(())
    }

    fn label_matches(&self, task: &str, label: &str) -> bool {
        let Some(glob) = &self.label else { return true };
        let inner = label
            .strip_prefix(task)
            .and_then(|rest| rest.strip_prefix('['))
            .and_then(|rest| rest.strip_suffix(']'));
        inner.is_some_and(|inner| glob.is_match(inner))
    }
}

fn strip<'a>(text: &'a str, by: impl Fn(&'a str) -> Option<&'a str>) -> (bool, &'a str) {
    by(text).map_or((false, text), |rest| (true, rest))
}

/// Everything reachable from `start` by `next`, `start` itself left out unless reached.
fn closure(start: &BTreeSet<usize>, next: impl Fn(usize) -> Vec<usize>) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<usize> = start.iter().copied().collect();
    while let Some(task) = open.pop() {
        for neighbour in next(task) {
            if reached.insert(neighbour) {
                open.push(neighbour);
            }
        }
    }
    reached
}
