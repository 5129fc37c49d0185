//! Tests of patterns, among them a comparison with another implementation of the same rules.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn matches(pattern: &str, path: &str) -> bool {
    Pattern::new(pattern).unwrap().matches(path)
}

#[test]
fn wildcards_stay_within_a_segment_and_double_stars_do_not() {
    for (pattern, path, expected) in [
        ("photos/**/*.jpg", "photos/a.jpg", true),
        ("photos/**/*.jpg", "photos/x/y/a.jpg", true),
        ("photos/**/*.jpg", "photosx/a.jpg", false),
        ("photos/*.jpg", "photos/x/a.jpg", false),
        ("photos/**", "photos", false),
        ("photos/**", "photos/.hidden", true),
        ("**", "a", true),
        ("**/a", "a", true),
        ("**/a/**/b", "x/a/b", true),
        ("a/**/**/b", "a/b", true),
        ("*", ".a", true),
        ("*", "a/b", false),
        ("a?c", "aéc", true),
        ("a?c", "ac", false),
        ("[a-c]x", "bx", true),
        ("[!a-c]x", "bx", false),
        ("[]x]", "]", true),
        ("[a-]", "-", true),
        ("{a,b/c}.txt", "b/c.txt", true),
        ("{a,{b,c}d}", "cd", true),
        ("a{,b}", "a", true),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        (
            "*a*a*a*b",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac",
            false,
        ),
        ("./a/*", "a/b", true),
    ] {
        assert_eq!(matches(pattern, path), expected, "{pattern} on {path}");
    }
}

#[test]
fn a_pattern_that_leaves_the_project_or_cannot_match_is_refused() {
    for (pattern, error) in [
        ("", GlobError::Path(PathError::Empty)),
        ("/a", GlobError::Path(PathError::Absolute)),
        ("/a/*", GlobError::Path(PathError::Absolute)),
        ("a/../b", GlobError::Path(PathError::Parent)),
        ("a/../*", GlobError::Path(PathError::Parent)),
        ("\\.\\./*", GlobError::Path(PathError::Parent)),
        ("{..,a}/b", GlobError::Path(PathError::Parent)),
        ("a/./*", GlobError::Path(PathError::Dot)),
        ("a//*", GlobError::Path(PathError::EmptySegment)),
        ("a/", GlobError::Path(PathError::EmptySegment)),
        ("*/", GlobError::Path(PathError::EmptySegment)),
        ("a\0*", GlobError::Path(PathError::Nul)),
        ("[a", GlobError::OpenClass),
        ("[]", GlobError::OpenClass),
        ("[a/b]", GlobError::OpenClass),
        ("[z-a]", GlobError::BadRange),
        ("{a", GlobError::OpenBrace),
        ("a}", GlobError::LoneBrace),
        ("a\\", GlobError::TrailingEscape),
        (
            "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}",
            GlobError::TooManyAlternatives,
        ),
    ] {
        assert_eq!(Pattern::new(pattern).err(), Some(error), "{pattern}");
    }
    let deep = format!("{}*", "a/".repeat(MAX_SEGMENTS));
    assert_eq!(Pattern::new(&deep).err(), Some(GlobError::TooManySegments));
    assert_eq!(
        Pattern::new(&"a".repeat(5000)).err(),
        Some(GlobError::Path(PathError::TooLong))
    );
    assert_eq!(
        Pattern::new(&"{a,".repeat(1000)).err(),
        Some(GlobError::TooManyAlternatives)
    );
    assert_eq!(
        Pattern::new(&format!("{{{}}}", ",".repeat(1000))).err(),
        Some(GlobError::TooManyAlternatives)
    );
}

#[test]
fn the_base_is_the_folder_to_walk() {
    for (pattern, base, literal) in [
        ("photos/**/*.jpg", "photos", None),
        ("a/b/c.txt", "a/b", Some("a/b/c.txt")),
        ("c.txt", "", Some("c.txt")),
        ("a/{b,c}/d", "a", None),
        ("a/b\\*/c", "a/b*", Some("a/b*/c")),
        ("**", "", None),
        ("a/b/*", "a/b", None),
    ] {
        let pattern = Pattern::new(pattern).unwrap();
        assert_eq!(pattern.base(), base, "{pattern}");
        assert_eq!(pattern.as_literal(), literal, "{pattern}");
    }
}

#[test]
fn a_walk_is_told_where_it_need_not_go() {
    for (pattern, dir, expected) in [
        ("a/*.txt", "a", true),
        ("a/*.txt", "a/b", false),
        ("a/*.txt", "b", false),
        ("a/**/x", "a/b/c", true),
        ("a/b", "a", true),
        ("a/b", "a/b", false),
        ("**", "z", true),
        ("anything", "", true),
    ] {
        assert_eq!(
            Pattern::new(pattern).unwrap().may_match_below(dir),
            expected,
            "{pattern} below {dir}"
        );
    }
}

#[test]
fn some_folders_are_only_seen_when_they_are_named() {
    let all = Pattern::new("**").unwrap();
    assert!(all.skips_path("x/target/y"));
    assert!(all.skips_path(".git/HEAD"));
    assert!(!all.skips_path("src/target"));
    assert!(
        !Pattern::new("target/wasm/*")
            .unwrap()
            .skips_path("target/wasm/a")
    );
    assert!(!Pattern::new("target/a").unwrap().skips_path("target/a"));
    assert!(Pattern::new(".git/*").unwrap().skips_path(".git/HEAD"));
}

#[test]
fn a_literal_takes_any_character_as_it_is() {
    let odd = "a[1]{x}*?\\.jpg";
    let pattern = Pattern::literal(odd).unwrap();
    assert_eq!(pattern.as_literal(), Some(odd));
    assert!(pattern.matches(odd));
    assert_eq!(Pattern::new(pattern.as_str()).unwrap(), pattern);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    // Without negated classes: elsewhere they match a `/`, here nothing but a `/` does.
    #[test]
    fn it_agrees_with_another_implementation(
        pattern in "(\\*\\*/)?([ab?*]|\\[ab\\]|\\{a,b\\}){1,4}(/(\\*\\*/)?([ab?*]|\\[b-c\\]|\\{ab,b\\}){1,4}){0,3}(/\\*\\*)?",
        paths in prop::collection::vec("[ab]{1,4}(/[ab]{1,4}){0,4}", 1..20),
    ) {
        let other = globset::GlobBuilder::new(&pattern).literal_separator(true).build().unwrap().compile_matcher();
        // Many alternatives are the other's pleasure, not ours.
        let Ok(own) = Pattern::new(&pattern) else { return Ok(()) };
        for path in paths {
            prop_assert_eq!(own.matches(&path), other.is_match(&path), "{} on {}", pattern, path);
            if own.matches(&path) {
                prop_assert!(path.starts_with(own.base()));
                if let Some((dir, _)) = path.rsplit_once('/') {
                    prop_assert!(own.may_match_below(dir));
                }
            }
        }
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in "[\\PC/*?{},\\[\\]\\\\.!^-]{0,40}", path in "\\PC{0,20}") {
        if let Ok(pattern) = Pattern::new(&text) {
            let _ = pattern.matches(&path);
            let _ = pattern.may_match_below(&path);
        }
        if let Ok(literal) = Pattern::literal(&path) {
            prop_assert!(literal.matches(path.strip_prefix("./").unwrap_or(&path)));
        }
    }

    #[test]
    fn from_inside_a_folder_it_matches_the_same(
        pattern in "(\\*\\*/)?([ab?*]|\\[ab\\]|\\{a,b/a\\}){1,3}(/(\\*\\*/)?[ab*]{1,3}){0,3}(/\\*\\*)?",
        paths in prop::collection::vec("[ab]{1,3}(/[ab]{1,3}){0,4}", 1..20),
    ) {
        let Ok(own) = Pattern::new(&pattern) else { return Ok(()) };
        for path in paths {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            prop_assert_eq!(own.within(folder).matches(name), own.matches(&path), "{} on {}", pattern, path);
        }
    }
}
