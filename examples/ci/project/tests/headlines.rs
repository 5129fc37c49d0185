//! Real headlines from a file, as a user of the crate handles them.

use std::path::{Path, PathBuf};

use slugline::{Slugs, shorten, slug};

/// Where the fixtures are: beside the crate for `cargo test`, among the inputs for a task of a pipeline.
fn fixture(name: &str) -> PathBuf {
    let folders = [
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"),
        "/in/project/tests/fixtures",
    ];
    let found = folders
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no fixture {name} in {folders:?}"))
}

/// Each line of the file: a headline, a tab, the slug that is expected.
fn headlines() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(fixture("headlines.tsv")).expect("the fixture can be read");
    text.lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(headline, slug)| (headline.to_owned(), slug.to_owned()))
        .collect()
}

#[test]
fn every_headline_has_its_slug() {
    let headlines = headlines();
    assert!(headlines.len() >= 8, "the fixture is there: {headlines:?}");
    for (headline, expected) in headlines {
        assert_eq!(slug(&headline), expected);
    }
}

#[test]
fn all_slugs_of_a_page_differ() {
    let mut slugs = Slugs::default();
    let mut all: Vec<String> = headlines()
        .iter()
        .chain(&headlines())
        .map(|(headline, _)| slugs.add(headline))
        .collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn every_headline_fits_a_column() {
    for (headline, _) in headlines() {
        assert!(shorten(&headline, 24).chars().count() <= 24, "{headline}");
    }
}
