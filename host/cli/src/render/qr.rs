//! A text as a QR code of half blocks, two modules a character. Decides whether the terminal can show one, and never
//! writes. Called by `mesh invite`.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use super::term::Term;

/// The lines of the code; nothing where stderr is no terminal, cannot show the blocks, or is too narrow.
///
/// Letters are written upper-case: those and digits take about half the room of other characters.
pub(crate) fn code(text: &str, term: &Term) -> Option<String> {
    if !term.err.terminal || !term.unicode {
        return None;
    }
    let upper = text.to_ascii_uppercase();
    let code = QrCode::with_error_correction_level(upper, EcLevel::L).ok()?;
    // Quiet zone included: four modules on either side.
    if code.width() + 8 > term.width {
        return None;
    }
    let mut renderer = code.render::<Dense1x2>();
    if term.err.color {
        // Black on white whatever the terminal's colours are.
        let drawn = renderer.build();
        let lines = drawn
            .lines()
            .map(|line| format!("\u{1b}[30;107m{line}\u{1b}[0m\n"));
        return Some(lines.collect());
    }
    // Most terminals are dark: then the blocks are the light modules.
    let drawn = renderer
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    Some(format!("{drawn}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_where_it_can_be_read() {
        let mut term = Term::plain(80);
        let ticket = format!("sykli1{}", "0a1b2c3d".repeat(34));
        assert_eq!(code(&ticket, &term), None, "no terminal");
        term.err.terminal = true;
        let drawn = code(&ticket, &term).unwrap_or_default();
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines.len() > 20, "{drawn}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        assert!(
            lines
                .iter()
                .all(|line| line.chars().all(|c| " ▄▀█".contains(c)))
        );
        let narrow = Term { width: 40, ..term };
        assert_eq!(code(&ticket, &narrow), None);
        let ascii = Term {
            unicode: false,
            ..term
        };
        assert_eq!(code(&ticket, &ascii), None);
        term.err.color = true;
        let drawn = code(&ticket, &term).unwrap_or_default();
        assert!(drawn.lines().all(|line| line.starts_with("\u{1b}[30;107m")));
    }
}
