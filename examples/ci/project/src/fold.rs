//! Letters without their marks.

/// The plain letters that stand for a character, in lower case; none for what is not a letter or digit, the character itself
/// for letters of other scripts.
///
/// ```
/// assert_eq!(slugline::fold('É').as_deref(), Some("e"));
/// assert_eq!(slugline::fold('ß').as_deref(), Some("ss"));
/// assert_eq!(slugline::fold('!'), None);
/// ```
pub fn fold(character: char) -> Option<String> {
    let lower: String = character.to_lowercase().collect();
    let plain = match lower.as_str() {
        "à" | "á" | "â" | "ã" | "å" | "ā" | "ă" | "ą" => "a",
        "ä" | "æ" => "ae",
        "ç" | "ć" | "č" => "c",
        "ď" | "ð" => "d",
        "è" | "é" | "ê" | "ë" | "ē" | "ė" | "ę" | "ě" => "e",
        "ì" | "í" | "î" | "ï" | "ī" | "į" | "ı" => "i",
        "ł" => "l",
        "ñ" | "ń" | "ň" => "n",
        "ò" | "ó" | "ô" | "õ" | "ø" | "ō" | "ő" => "o",
        "ö" | "œ" => "oe",
        "ř" => "r",
        "ś" | "š" | "ş" | "ș" => "s",
        "ß" => "ss",
        "ť" | "ţ" | "ț" => "t",
        "þ" => "th",
        "ù" | "ú" | "û" | "ū" | "ů" | "ű" => "u",
        "ü" => "ue",
        "ý" | "ÿ" => "y",
        "ź" | "ż" | "ž" => "z",
        other if other.chars().all(char::is_alphanumeric) => other,
        _ => return None,
    };
    Some(plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_off() {
        let folded: String = "ÀÇÉÎÑØÜ".chars().filter_map(fold).collect();
        assert_eq!(folded, "aceinoue");
    }

    #[test]
    fn other_scripts_are_kept() {
        assert_eq!(fold('日').as_deref(), Some("日"));
        assert_eq!(fold('Ж').as_deref(), Some("ж"));
    }

    #[test]
    fn what_is_no_letter_is_dropped() {
        assert!(
            " .,!\u{300}\u{200b}"
                .chars()
                .all(|character| fold(character).is_none())
        );
    }
}
