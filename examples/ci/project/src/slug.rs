//! Slugs: the part of an address that people can read.

use std::collections::BTreeMap;

use crate::fold;

/// The slug of a text: folded letters and digits, words joined by single hyphens. An apostrophe joins what it stands between.
///
/// ```
/// assert_eq!(slugline::slug("  It's 5 o'clock -- somewhere "), "its-5-oclock-somewhere");
/// ```
pub fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    let mut gap = false;
    for character in text.chars() {
        match fold(character) {
            Some(letters) => {
                if gap && !slug.is_empty() {
                    slug.push('-');
                }
                gap = false;
                slug.push_str(&letters);
            }
            None => gap |= !matches!(character, '\'' | '\u{2019}'),
        }
    }
    slug
}

/// Slugs that are all different: a repeated one gets a number.
#[derive(Debug, Default)]
pub struct Slugs {
    used: BTreeMap<String, u32>,
}

impl Slugs {
    /// The slug of a text, or that slug with the first free number behind it; `untitled` where the text has no letters.
    pub fn add(&mut self, text: &str) -> String {
        let base = match slug(text) {
            slug if slug.is_empty() => "untitled".to_owned(),
            slug => slug,
        };
        let mut candidate = base.clone();
        while self.used.contains_key(&candidate) {
            let next = self.used.entry(base.clone()).or_insert(1);
            *next += 1;
            candidate = format!("{base}-{next}");
        }
        self.used.insert(candidate.clone(), 1);
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined_by_single_hyphens() {
        assert_eq!(slug("Hello,   World"), "hello-world");
        assert_eq!(slug("--a--b--"), "a-b");
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(slug(""), "");
        assert_eq!(slug("?!"), "");
    }

    #[test]
    fn a_slug_is_its_own_slug() {
        for text in ["Ça va?", "x'y", "日本 語", "ÄÖÜ ß"] {
            let once = slug(text);
            assert_eq!(slug(&once), once, "{text}");
        }
    }

    #[test]
    fn repeated_slugs_are_numbered() {
        let mut slugs = Slugs::default();
        let added = ["News", "news!", "News 2", "NEWS", ""].map(|text| slugs.add(text));
        assert_eq!(added, ["news", "news-2", "news-2-2", "news-3", "untitled"]);
    }
}
