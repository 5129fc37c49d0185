//! Drawing on a picture: filled boxes, pictures, soft shadows, and text in a bitmap font. Everything is clipped to the
//! picture; a character that the font lacks is drawn as its replacement character.

use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{
    FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width,
};

pub type Colour = [u8; 3];

/// A face of the font.
#[derive(Clone, Copy, Debug)]
pub struct Face {
    pub weight: FontWeight,
    pub height: RasterHeight,
}

impl Face {
    /// How wide one character is, in pixels.
    pub fn advance(self) -> u32 {
        get_raster_width(self.weight, self.height) as u32
    }

    /// How high a line is, in pixels.
    pub fn line(self) -> u32 {
        self.height.val() as u32
    }

    fn glyph(self, character: char) -> Option<RasterizedChar> {
        let get = |character| get_raster(character, self.weight, self.height);
        get(character)
            .or_else(|| get('\u{fffd}'))
            .or_else(|| get('?'))
    }
}

/// A picture being drawn.
pub struct Canvas {
    pub picture: RgbImage,
}

impl Canvas {
    pub fn new(width: u32, height: u32, ground: Colour) -> Canvas {
        Canvas {
            picture: RgbImage::from_pixel(width, height, Rgb(ground)),
        }
    }

    /// Lays `colour` over a pixel, `strength` of 255 strong.
    fn blend(&mut self, x: i64, y: i64, colour: Colour, strength: u8) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else {
            return;
        };
        if let Some(pixel) = self.picture.get_pixel_mut_checked(x, y) {
            for (under, over) in pixel.0.iter_mut().zip(colour) {
                let (under_part, over_part) = (
                    u32::from(*under) * u32::from(255 - strength),
                    u32::from(over) * u32::from(strength),
                );
                *under = ((under_part + over_part + 127) / 255) as u8;
            }
        }
    }

    pub fn fill(&mut self, x: u32, y: u32, width: u32, height: u32, colour: Colour) {
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column)))
        {
            self.blend((x + column).into(), (y + row).into(), colour, 255);
        }
    }

    pub fn place(&mut self, x: u32, y: u32, picture: &RgbImage) {
        image::imageops::replace(&mut self.picture, picture, x.into(), y.into());
    }

    /// A soft shadow around a box, falling a little downwards.
    pub fn shadow(&mut self, x: u32, y: u32, width: u32, height: u32) {
        const REACH: i64 = 18;
        const FALL: i64 = 6;
        let (x, y, width, height) = (
            i64::from(x),
            i64::from(y) + FALL,
            i64::from(width),
            i64::from(height),
        );
        for row in y - REACH..y + height + REACH {
            for column in x - REACH..x + width + REACH {
                let dx = (x - column).max(column - (x + width - 1)).max(0);
                let dy = (y - row).max(row - (y + height - 1)).max(0);
                let away = ((dx * dx + dy * dy) as f32).sqrt() / REACH as f32;
                let strength = (1.0 - away).max(0.0).powi(2) * 110.0;
                self.blend(column, row, [0, 0, 0], strength as u8);
            }
        }
    }

    /// A line of text with its upper left corner here.
    pub fn text(&mut self, x: u32, y: u32, text: &str, face: Face, colour: Colour) {
        for (i, character) in text.chars().enumerate() {
            let Some(glyph) = face.glyph(character) else {
                continue;
            };
            let left = i64::from(x) + i as i64 * i64::from(face.advance());
            for (row, line) in glyph.raster().iter().enumerate() {
                for (column, &strength) in line.iter().enumerate() {
                    self.blend(
                        left + column as i64,
                        i64::from(y) + row as i64,
                        colour,
                        strength,
                    );
                }
            }
        }
    }
}

/// `text` in at most `characters`, its middle left out where it is longer: names differ at their ends.
pub fn fit(text: &str, characters: usize) -> String {
    let all: Vec<char> = text
        .chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect();
    if all.len() <= characters {
        return all.into_iter().collect();
    }
    let kept = characters.saturating_sub(3);
    let (start, end) = (kept.div_ceil(2), kept / 2);
    all[..start]
        .iter()
        .chain(&['.'; 3])
        .chain(&all[all.len() - end..])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(fit("short.jpg", 20), "short.jpg");
        assert_eq!(fit("a-very-long-file-name.jpg", 13), "a-ver...e.jpg");
        assert_eq!(fit("äöü\nß", 5), "äöü\u{fffd}ß");
    }

    #[test]
    fn drawing_beyond_the_edge_is_clipped() {
        let face = Face {
            weight: FontWeight::Regular,
            height: RasterHeight::Size16,
        };
        let mut canvas = Canvas::new(10, 10, [0, 0, 0]);
        canvas.text(5, 5, "\u{4e2d}W", face, [255, 255, 255]);
        canvas.shadow(0, 0, 10, 10);
        canvas.fill(8, 8, 10, 10, [1, 2, 3]);
        assert_eq!(canvas.picture.get_pixel(9, 9).0, [1, 2, 3]);
    }
}
