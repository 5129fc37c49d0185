//! Headlines that fit.

/// `text` in at most `limit` characters. Where it is longer, whole words are kept and an ellipsis says so; a first word that
/// does not fit is cut.
///
/// ```
/// assert_eq!(slugline::shorten("one two three", 8), "one two…");
/// ```
pub fn shorten(text: &str, limit: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let whole = words.join(" ");
    if whole.chars().count() <= limit {
        return whole;
    }
    if limit == 0 {
        return String::new();
    }
    let room = limit - 1;
    let mut kept = String::new();
    let mut length = 0;
    for word in words {
        let longer = length + usize::from(length > 0) + word.chars().count();
        if longer > room {
            break;
        }
        if length > 0 {
            kept.push(' ');
        }
        kept.push_str(word);
        length = longer;
    }
    if kept.is_empty() {
        kept = whole.chars().take(room).collect();
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_kept() {
        assert_eq!(shorten("just right", 10), "just right");
        assert_eq!(shorten("  spaces   go ", 20), "spaces go");
    }

    #[test]
    fn whole_words_are_kept() {
        assert_eq!(shorten("the quick brown fox", 12), "the quick…");
    }

    #[test]
    fn a_long_word_is_cut() {
        assert_eq!(shorten("incomprehensibilities", 8), "incompr…");
    }

    #[test]
    fn the_limit_always_holds() {
        for limit in 0..30 {
            let short = shorten("ein Überblick über grüne Flächen", limit);
            assert!(short.chars().count() <= limit, "{limit}: {short}");
        }
    }
}
