//! The inside of a pattern: its alternatives, cut into segments, and how a segment matches a name.
//!
//! Parsing and matching only; [`super::Pattern`] is the door.

use super::{GlobError, MAX_ALTERNATIVES, MAX_SEGMENTS, PathError};

/// One pattern without `{}`: segments, matched one after the other.
#[derive(Debug)]
pub(super) struct Alternative {
    segments: Box<[Segment]>,
}

#[derive(Debug)]
enum Segment {
    /// `**`: any number of segments, also none.
    AnyDepth,
    /// Any one name: `*`.
    AnyName,
    Literal(Box<str>),
    Glob(Box<[Token]>),
}

#[derive(Debug)]
enum Token {
    Char(char),
    /// `?`
    AnyChar,
    /// `*`
    AnyText,
    Class {
        negated: bool,
        ranges: Box<[(char, char)]>,
    },
}

/// Parses a pattern into its alternatives (one, where it has no `{}`).
pub(super) fn alternatives(text: &str) -> Result<Vec<Alternative>, GlobError> {
    expand_braces(text)?
        .iter()
        .map(|one| Alternative::parse(one))
        .collect()
}

/// Writes out `{a,b}`, also nested. Escapes and classes are passed over and kept.
fn expand_braces(text: &str) -> Result<Vec<String>, GlobError> {
    // Each open brace holds the texts of its finished alternatives and of the one being read; the outermost level is
    // the pattern itself, which has just one.
    let mut levels: Vec<(Vec<String>, Vec<String>)> = vec![(Vec::new(), vec![String::new()])];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let depth = levels.len();
        match c {
            '{' => levels.push((Vec::new(), vec![String::new()])),
            ',' if depth > 1 => {
                if let Some((done, current)) = levels.last_mut() {
                    done.append(current);
                    current.push(String::new());
                }
            }
            '}' => {
                let (mut done, mut current) = levels.pop().unwrap_or_default();
                done.append(&mut current);
                let (_, outer) = levels.last_mut().ok_or(GlobError::LoneBrace)?;
                if outer.len().saturating_mul(done.len()) > MAX_ALTERNATIVES {
                    return Err(GlobError::TooManyAlternatives);
                }
                *outer = outer
                    .iter()
                    .flat_map(|head| done.iter().map(move |tail| format!("{head}{tail}")))
                    .collect();
            }
            '\\' => {
                let next = chars.next().ok_or(GlobError::TrailingEscape)?;
                append(&mut levels, &['\\', next]);
            }
            '[' => {
                append(&mut levels, &['[']);
                copy_class(&mut chars, &mut levels)?;
            }
            c => append(&mut levels, &[c]),
        }
        // Alternatives that are still being read count too: `{a,b,c,…` is bounded before its brace is closed.
        if levels
            .iter()
            .map(|(done, current)| done.len() + current.len())
            .max()
            > Some(MAX_ALTERNATIVES)
        {
            return Err(GlobError::TooManyAlternatives);
        }
        if depth > MAX_ALTERNATIVES {
            return Err(GlobError::TooManyAlternatives);
        }
    }
    match levels.pop() {
        Some((_, current)) if levels.is_empty() => Ok(current),
        _ => Err(GlobError::OpenBrace),
    }
}

fn append(levels: &mut [(Vec<String>, Vec<String>)], chars: &[char]) {
    if let Some((_, current)) = levels.last_mut() {
        for text in current {
            text.extend(chars);
        }
    }
}

/// Copies the rest of a class, up to and with its `]`, so that braces and commas inside stay characters.
fn copy_class(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    levels: &mut [(Vec<String>, Vec<String>)],
) -> Result<(), GlobError> {
    if let Some(negation) = chars.next_if(|c| *c == '!' || *c == '^') {
        append(levels, &[negation]);
    }
    let mut first = true;
    loop {
        match chars.next() {
            None | Some('/') => return Err(GlobError::OpenClass),
            Some(']') if !first => {
                append(levels, &[']']);
                return Ok(());
            }
            Some(c) => append(levels, &[c]),
        }
        first = false;
    }
}

impl Alternative {
    fn parse(text: &str) -> Result<Alternative, GlobError> {
        if text.is_empty() {
            return Err(PathError::Empty.into());
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute.into());
        }
        let mut segments = Vec::new();
        for part in text.split('/') {
            match Segment::parse(part)? {
                Segment::AnyDepth if matches!(segments.last(), Some(Segment::AnyDepth)) => {}
                segment => segments.push(segment),
            }
        }
        // At the end, `**` is what is inside, not the folder itself.
        if matches!(segments.last(), Some(Segment::AnyDepth)) {
            segments.push(Segment::AnyName);
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(GlobError::TooManySegments);
        }
        Ok(Alternative {
            segments: segments.into(),
        })
    }

    /// The path, where every segment is a plain name.
    pub(super) fn literal(&self) -> Option<String> {
        let names: Option<Vec<&str>> = self.segments.iter().map(Segment::as_literal).collect();
        names.map(|names| names.join("/"))
    }

    /// The plain names that it begins with, without its last segment.
    pub(super) fn base(&self) -> Vec<&str> {
        let folders = self.segments.len().saturating_sub(1);
        self.segments
            .iter()
            .take(folders)
            .map_while(Segment::as_literal)
            .collect()
    }

    /// Whether one of its segments is the plain name `name`.
    pub(super) fn names(&self, name: &str) -> bool {
        self.segments
            .iter()
            .any(|segment| segment.as_literal() == Some(name))
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        let end = 1u128 << self.segments.len();
        self.walk(path) & end != 0
    }

    pub(super) fn may_match_below(&self, dir: &str) -> bool {
        let end = 1u128 << self.segments.len();
        self.walk(dir) & !end != 0
    }

    /// What is reached once the folder `dir` is read (`""` for the project's own): the way to begin
    /// [`Alternative::matches_in`] with. Zero where nothing inside can match.
    pub(super) fn enter(&self, dir: &str) -> u128 {
        if dir.is_empty() {
            return self.close(1);
        }
        let end = 1u128 << self.segments.len();
        self.walk(dir) & !end
    }

    /// Whether it matches the file `name` in the folder that gave `states`.
    pub(super) fn matches_in(&self, states: u128, name: &str) -> bool {
        let end = 1u128 << self.segments.len();
        self.step(states, name) & end != 0
    }

    /// Which segments of the pattern can come next once `path` is read, one bit each; the bit after the last is the end.
    fn walk(&self, path: &str) -> u128 {
        let mut states = self.close(1);
        for name in path.split('/') {
            states = self.step(states, name);
            if states == 0 {
                break;
            }
        }
        states
    }

    fn step(&self, states: u128, name: &str) -> u128 {
        let mut next = 0u128;
        for (index, segment) in self.segments.iter().enumerate() {
            if states & (1 << index) == 0 {
                continue;
            }
            match segment {
                Segment::AnyDepth => next |= 1 << index,
                segment if segment.matches(name) => next |= 2 << index,
                _ => {}
            }
        }
        self.close(next)
    }

    /// Adds what follows each `**` that is reached: it may stand for nothing.
    fn close(&self, mut states: u128) -> u128 {
        for (index, segment) in self.segments.iter().enumerate() {
            if matches!(segment, Segment::AnyDepth) && states & (1 << index) != 0 {
                states |= 2 << index;
            }
        }
        states
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Segment, GlobError> {
        match text {
            "" => return Err(PathError::EmptySegment.into()),
            "**" => return Ok(Segment::AnyDepth),
            "*" => return Ok(Segment::AnyName),
            _ => {}
        }
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\0' => return Err(PathError::Nul.into()),
                '*' if matches!(tokens.last(), Some(Token::AnyText)) => {}
                '*' => tokens.push(Token::AnyText),
                '?' => tokens.push(Token::AnyChar),
                '[' => tokens.push(parse_class(&mut chars)?),
                '\\' => tokens.push(Token::Char(chars.next().ok_or(GlobError::TrailingEscape)?)),
                c => tokens.push(Token::Char(c)),
            }
        }
        let plain: Option<String> = tokens
            .iter()
            .map(|token| {
                if let Token::Char(c) = token {
                    Some(*c)
                } else {
                    None
                }
            })
            .collect();
        match plain.as_deref() {
            Some(".") => Err(PathError::Dot.into()),
            Some("..") => Err(PathError::Parent.into()),
            Some(name) => Ok(Segment::Literal(name.into())),
            None => Ok(Segment::Glob(tokens.into())),
        }
    }

    fn as_literal(&self) -> Option<&str> {
        if let Segment::Literal(name) = self {
            Some(name)
        } else {
            None
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Segment::AnyDepth | Segment::AnyName => true,
            Segment::Literal(own) => **own == *name,
            Segment::Glob(tokens) => tokens_match(tokens, name),
        }
    }
}

/// Reads a class after its `[`.
fn parse_class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, GlobError> {
    let negated = chars.next_if(|c| *c == '!' || *c == '^').is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next().ok_or(GlobError::OpenClass)? {
            ']' if !ranges.is_empty() => {
                return Ok(Token::Class {
                    negated,
                    ranges: ranges.into(),
                });
            }
            low => low,
        };
        let mut high = low;
        if chars.peek() == Some(&'-') {
            let mut ahead = chars.clone();
            ahead.next();
            // A `-` just before the `]` is a `-`.
            if let Some(end) = ahead.next().filter(|end| *end != ']') {
                high = end;
                *chars = ahead;
            }
        }
        if high < low {
            return Err(GlobError::BadRange);
        }
        ranges.push((low, high));
    }
}

/// Matches a name. Only the last `*` is ever tried again: an earlier one could win nothing by taking more.
fn tokens_match(tokens: &[Token], name: &str) -> bool {
    let (mut token, mut rest) = (0, name);
    let mut retry: Option<(usize, &str)> = None;
    loop {
        match (tokens.get(token), rest.chars().next()) {
            (Some(Token::AnyText), _) => {
                token += 1;
                retry = Some((token, rest));
                continue;
            }
            (Some(other), Some(c)) if other.accepts(c) => {
                token += 1;
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        let Some((after_star, from)) = retry else {
            return false;
        };
        let Some(skipped) = from.chars().next() else {
            return false;
        };
        rest = from.get(skipped.len_utf8()..).unwrap_or_default();
        token = after_star;
        retry = Some((after_star, rest));
    }
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Token::Char(own) => *own == c,
            Token::AnyChar => true,
            Token::AnyText => false,
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}
