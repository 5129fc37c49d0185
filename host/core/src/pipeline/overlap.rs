//! Finding outputs that would be written over one another.
//!
//! Decides what can be decided from patterns alone: equal literals, a literal that another's pattern matches, equal
//! patterns. Whether two different patterns meet is only known when files are written, so it is left to the node.
//! Callers: [`super::validate`] for what a pipeline says, [`crate::expand`] for what its instances write.

use crate::glob::Pattern;

/// Somebody's output.
pub(crate) struct Claim<'a> {
    /// The declared task.
    pub(crate) task: usize,
    /// Tells apart those who may not both write a file; the task itself, or one of its instances.
    pub(crate) owner: usize,
    /// What it writes.
    pub(crate) pattern: &'a Pattern,
    /// Handed back: which output it is.
    pub(crate) tag: usize,
}

/// Two claims (as indices) of which one file could be, at most `limit` of them.
pub(crate) fn collisions(claims: &[Claim<'_>], limit: usize) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let (mut literals, mut globs) = (Vec::new(), Vec::new());
    for (index, claim) in claims.iter().enumerate() {
        match claim.pattern.as_literal() {
            Some(path) => literals.push((path, index)),
            None => globs.push((claim.pattern.as_str(), index)),
        }
    }
    literals.sort_unstable();
    globs.sort_unstable();
    let owner = |index: usize| claims.get(index).map(|claim| claim.owner);
    let task = |index: usize| claims.get(index).map(|claim| claim.task);
    let equal = |list: &[(&str, usize)],
                 differ: &dyn Fn(usize, usize) -> bool,
                 found: &mut Vec<(usize, usize)>| {
        for pair in list.windows(2) {
            if let [(text, first), (other, second)] = pair
                && text == other
                && differ(*first, *second)
                && found.len() < limit
            {
                found.push((*first, *second));
            }
        }
    };
    equal(&literals, &|a, b| owner(a) != owner(b), &mut found);
    equal(&globs, &|a, b| task(a) != task(b), &mut found);
    for (_, glob) in globs {
        let Some(claim) = claims.get(glob) else {
            continue;
        };
        let hit = inside(&literals, claim.pattern.base())
            .iter()
            .find(|(path, literal)| {
                task(*literal) != Some(claim.task) && claim.pattern.matches(path)
            });
        if let Some((_, literal)) = hit
            && found.len() < limit
        {
            found.push((*literal, glob));
        }
    }
    found
}

/// The part of a sorted list that is inside a folder.
fn inside<'l, 't>(sorted: &'l [(&'t str, usize)], folder: &str) -> &'l [(&'t str, usize)] {
    if folder.is_empty() {
        return sorted;
    }
    let prefix = format!("{folder}/");
    let start = sorted.partition_point(|(path, _)| *path < prefix.as_str());
    let rest = sorted.get(start..).unwrap_or_default();
    let end = rest.partition_point(|(path, _)| path.starts_with(&prefix));
    rest.get(..end).unwrap_or_default()
}
