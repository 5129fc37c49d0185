//! The table of all settings: name, variable, kind, how a project file may narrow it, what it means. `config show`,
//! `config check`, suggestions and precedence all read this one table; its rows that say how this machine deals with others
//! are in `keys/mesh.rs`. It holds no values.

mod mesh;

/// What a setting's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole number, within these bounds.
    Count { min: u64, max: u64 },
    /// Bytes: `"500MB"`.
    Size,
    /// A span of time: `"5m"`.
    Duration,
    /// Work: `"5G"`.
    Fuel,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A folder; absolute.
    Folder,
    /// `true` or `false`.
    Bool,
    /// A node's name.
    Name,
    /// A list of labels.
    Labels,
    /// A list of grants.
    Texts,
    /// A list of addresses to dial.
    Addresses,
    /// A list of addresses to listen on.
    Listen,
    /// A list of peer ids.
    Peers,
    /// Bytes, or one of these words.
    SizeOr(&'static [&'static str]),
    /// A span of time, or one of these words.
    DurationOr(&'static [&'static str]),
}

/// What a project's file may do with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InProject {
    /// Lower it: the smaller of both values holds.
    Lowers,
    /// Raise it: what must be there is the larger of both.
    Raises,
    /// Switch it off.
    SwitchesOff,
    /// Choose a word that stands before the user's in the list of words, which begins with the narrowest.
    Restricts,
    /// Add to the list.
    Adds,
    /// Leave of the list what it names too.
    Keeps,
    /// Nothing: it belongs to the user.
    Refused,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Dotted name, as in the file.
    pub(crate) name: &'static str,
    pub(crate) env: Option<&'static str>,
    pub(crate) kind: Kind,
    pub(crate) project: InProject,
    /// What it does, for people.
    pub(crate) about: &'static str,
}

const fn key(
    name: &'static str,
    env: Option<&'static str>,
    kind: Kind,
    about: &'static str,
) -> Key {
    Key {
        name,
        env,
        kind,
        project: InProject::Refused,
        about,
    }
}

const fn lowers(
    name: &'static str,
    env: Option<&'static str>,
    kind: Kind,
    about: &'static str,
) -> Key {
    narrowed(InProject::Lowers, name, env, kind, about)
}

const fn narrowed(
    project: InProject,
    name: &'static str,
    env: Option<&'static str>,
    kind: Kind,
    about: &'static str,
) -> Key {
    Key {
        name,
        env,
        kind,
        project,
        about,
    }
}

/// What running alone needs.
const OWN: &[Key] = &[
    lowers(
        "jobs",
        Some("SYKLI_JOBS"),
        Kind::Count { min: 1, max: 4096 },
        "how many tasks run at once",
    ),
    key(
        "color",
        Some("SYKLI_COLOR"),
        Kind::Choice(&["auto", "always", "never"]),
        "when to use colours",
    ),
    key(
        "format",
        Some("SYKLI_FORMAT"),
        Kind::Choice(&["text", "json", "ndjson"]),
        "how results are written",
    ),
    key(
        "cache.dir",
        Some("SYKLI_CACHE_DIR"),
        Kind::Folder,
        "where results and compiled code are kept",
    ),
    key(
        "cache.max_size",
        Some("SYKLI_CACHE_MAX_SIZE"),
        Kind::Size,
        "what `sykli cache gc` keeps to",
    ),
    lowers(
        "limits.fuel",
        Some("SYKLI_LIMITS_FUEL"),
        Kind::Fuel,
        "the most work that a task may ask for",
    ),
    lowers(
        "limits.memory",
        Some("SYKLI_LIMITS_MEMORY"),
        Kind::Size,
        "the most memory that a task may ask for",
    ),
    lowers(
        "limits.timeout",
        Some("SYKLI_LIMITS_TIMEOUT"),
        Kind::Duration,
        "the most time that a task may ask for",
    ),
    lowers(
        "limits.output",
        Some("SYKLI_LIMITS_OUTPUT"),
        Kind::Size,
        "the most output that a task may ask for",
    ),
];

/// All settings, in the order in which they are shown; a later one's default may depend on an earlier one's value.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    OWN.iter().chain(mesh::KEYS)
}

/// The setting of this name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// Whether a table of this name holds settings.
pub(crate) fn is_table(name: &str) -> bool {
    all().any(|key| {
        key.name
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The name that was probably meant.
pub(crate) fn suggest(name: &str) -> Option<&'static str> {
    closest(name, all().map(|key| key.name))
}

/// The candidate nearest to `name`, if any is near.
pub(crate) fn closest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
    candidates
        .map(|candidate| {
            let whole = strsim::damerau_levenshtein(name, candidate);
            let tail = strsim::damerau_levenshtein(&last(name), &last(candidate));
            (whole.min(tail + 1), candidate)
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_names_every_setting_and_variable() {
        let page = include_str!("../../../../docs/src/configuration.md");
        for key in all() {
            for name in [Some(key.name), key.env].into_iter().flatten() {
                assert!(page.contains(&format!("`{name}`")), "{name}");
            }
        }
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_not() {
        assert_eq!(suggest("job"), Some("jobs"));
        assert_eq!(suggest("cache.max_sise"), Some("cache.max_size"));
        assert_eq!(suggest("colour"), Some("color"));
        assert_eq!(suggest("zzzzzzzz"), None);
        assert!(
            is_table("consent.when") && is_table("cache") && !is_table("jobs") && !is_table("cac")
        );
    }
}
