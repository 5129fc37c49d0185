//! Where everything on the sheet is: title, rendering, a grid of thumbnails with two lines of caption each.

use image::RgbImage;
use image::imageops::{self, FilterType};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight};

use crate::canvas::{Canvas, Colour, Face, fit};

/// A thumbnail and what stands below it; a grey field where there is no picture.
pub struct Photo {
    pub name: String,
    pub about: String,
    pub picture: Option<RgbImage>,
}

const WIDTH: u32 = 1320;
const MARGIN: u32 = 60;
const COLUMNS: u32 = 4;
const GAP: u32 = 28;
const CELL: u32 = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS;
/// From the top of a row of pictures to the next: picture, caption, space.
const ROW: u32 = CELL + 78;

const GROUND: Colour = [24, 25, 29];
const FRAME: Colour = [33, 35, 40];
const TITLE: Colour = [240, 236, 228];
const NAME: Colour = [222, 219, 212];
const ABOUT: Colour = [134, 136, 145];
const TROUBLE: Colour = [226, 122, 96];
const ACCENT: Colour = [226, 164, 96];

const LARGE: Face = Face {
    weight: FontWeight::Light,
    height: RasterHeight::Size32,
};
const MEDIUM: Face = Face {
    weight: FontWeight::Regular,
    height: RasterHeight::Size20,
};
const SMALL: Face = Face {
    weight: FontWeight::Light,
    height: RasterHeight::Size16,
};

/// Draws the sheet.
pub fn sheet(title: &str, rendering: &RgbImage, photos: &[Photo]) -> RgbImage {
    let rendering = fit_width(rendering, WIDTH - 2 * MARGIN);
    let top = MARGIN + LARGE.line() + 30;
    let rule = top + rendering.height() + 44;
    let grid = rule + MEDIUM.line() + 34;
    let rows = (photos.len() as u32).div_ceil(COLUMNS);
    let mut canvas = Canvas::new(WIDTH, grid + rows * ROW + MARGIN / 2, GROUND);

    canvas.fill(MARGIN, MARGIN + 3, 6, LARGE.line() - 4, ACCENT);
    canvas.text(MARGIN + 22, MARGIN, &fit(title, 60), LARGE, TITLE);
    canvas.shadow(MARGIN, top, rendering.width(), rendering.height());
    canvas.place(MARGIN, top, &rendering);

    let count = if photos.len() == 1 {
        "1 picture".to_owned()
    } else {
        format!("{} pictures", photos.len())
    };
    canvas.text(MARGIN, rule, &count, MEDIUM, TITLE);
    let line = MARGIN + count.chars().count() as u32 * MEDIUM.advance() + 18;
    canvas.fill(
        line,
        rule + MEDIUM.line() / 2,
        WIDTH - MARGIN - line,
        1,
        [62, 64, 71],
    );

    for (i, photo) in photos.iter().enumerate() {
        let (column, row) = (i as u32 % COLUMNS, i as u32 / COLUMNS);
        draw(
            &mut canvas,
            MARGIN + column * (CELL + GAP),
            grid + row * ROW,
            photo,
        );
    }
    canvas.picture
}

fn draw(canvas: &mut Canvas, x: u32, y: u32, photo: &Photo) {
    canvas.fill(x, y, CELL, CELL, FRAME);
    match &photo.picture {
        Some(picture) => {
            let shown = fit_square(picture, CELL - 24);
            let (left, top) = (
                x + (CELL - shown.width()) / 2,
                y + (CELL - shown.height()) / 2,
            );
            canvas.shadow(left, top, shown.width(), shown.height());
            canvas.place(left, top, &shown);
        }
        None => canvas.text(
            x + CELL / 2 - LARGE.advance() / 2,
            y + CELL / 2 - LARGE.line() / 2,
            "?",
            LARGE,
            TROUBLE,
        ),
    }
    let name = fit(&photo.name, (CELL / MEDIUM.advance()) as usize);
    canvas.text(x, y + CELL + 10, &name, MEDIUM, NAME);
    let about = fit(&photo.about, (CELL / SMALL.advance()) as usize);
    canvas.text(
        x,
        y + CELL + 36,
        &about,
        SMALL,
        if photo.picture.is_some() {
            ABOUT
        } else {
            TROUBLE
        },
    );
}

fn fit_width(picture: &RgbImage, width: u32) -> RgbImage {
    if picture.width() == width {
        return picture.clone();
    }
    let height = u64::from(picture.height()) * u64::from(width) / u64::from(picture.width().max(1));
    imageops::resize(
        picture,
        width,
        (height as u32).clamp(1, 4 * width),
        FilterType::Lanczos3,
    )
}

fn fit_square(picture: &RgbImage, side: u32) -> RgbImage {
    let longest = picture.width().max(picture.height());
    if longest <= side {
        return picture.clone();
    }
    let scaled =
        |length: u32| (u64::from(length) * u64::from(side) / u64::from(longest)).max(1) as u32;
    imageops::resize(
        picture,
        scaled(picture.width()),
        scaled(picture.height()),
        FilterType::Lanczos3,
    )
}

/// A file's size as people say it.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{} kB", (bytes + 500) / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            [999, 1499, 23_600, 4_250_000].map(size),
            ["999 B", "1 kB", "24 kB", "4.2 MB"]
        );
    }

    #[test]
    fn pictures_shrink_to_their_cell_and_keep_their_shape() {
        let tall = fit_square(&RgbImage::new(100, 400), 200);
        assert_eq!(tall.dimensions(), (50, 200));
        assert_eq!(
            fit_width(&RgbImage::new(600, 300), 1200).dimensions(),
            (1200, 600)
        );
    }
}
