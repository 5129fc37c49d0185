//! Shrinks one picture, this instance's item, so that it fits a square of `size` pixels. Leaves the small copy and, beside
//! it, what a caption says. A picture that cannot be read does not stop the others: it leaves a caption that says why.

use std::io::{self, Cursor};
use std::process::ExitCode;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};
use serde::Serialize;
use sykli_guest::{Error, Result, inputs, item, log, outputs, param_or};

/// What is known of a picture.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Caption {
    /// Its path in the project.
    path: String,
    /// In pixels, upright; of the original.
    width: u32,
    height: u32,
    /// Of the original file.
    bytes: u64,
    /// Why there is no small copy, where there is none.
    error: Option<String>,
}

fn main() -> ExitCode {
    sykli_guest::run(task)
}

fn task() -> Result<()> {
    let size: u32 = param_or("size", 260)?;
    let Some(path) = item() else {
        return Err(failed(
            "find",
            "the item",
            "run this task with `foreach = { glob = … }`",
        ));
    };
    let file = inputs::read(&path)?;
    let mut caption = Caption {
        path: path.clone(),
        width: 0,
        height: 0,
        bytes: file.len() as u64,
        error: None,
    };
    match decode(&file) {
        Ok(picture) => {
            (caption.width, caption.height) = (picture.width(), picture.height());
            outputs::write(
                format!("thumbs/{path}.png"),
                encode(&shrink(&picture, size), &path)?,
            )?;
            log::debug(
                "shrunk",
                &[
                    ("path", &path),
                    ("width", &picture.width()),
                    ("height", &picture.height()),
                ],
            );
        }
        Err(error) => {
            log::warn(
                "cannot be read as a picture",
                &[("path", &path), ("error", &error)],
            );
            caption.error = Some(error.to_string());
        }
    }
    outputs::json(format!("thumbs/{path}.json"), &caption)
}

/// The picture as it was meant to be seen: cameras note in the file how they were held.
fn decode(file: &[u8]) -> Result<DynamicImage, ImageError> {
    let reader = ImageReader::new(Cursor::new(file)).with_guessed_format()?;
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// A copy that fits a square of `size` pixels; never larger than the original.
fn shrink(picture: &DynamicImage, size: u32) -> RgbImage {
    let (width, height) = (picture.width(), picture.height());
    if width <= size && height <= size {
        return on_white(picture);
    }
    // Quickly to twice the size, then well: the time hardly depends on the original's.
    let rough = if width.max(height) > 4 * size {
        &picture.thumbnail(2 * size, 2 * size)
    } else {
        picture
    };
    let scale = f64::from(size) / f64::from(width.max(height));
    let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    imageops::resize(
        &on_white(rough),
        scaled(width),
        scaled(height),
        FilterType::Lanczos3,
    )
}

/// What is transparent shows white.
fn on_white(picture: &DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let picture = picture.to_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0;
        let over = |part: u8| {
            ((u32::from(part) * u32::from(alpha) + 255 * (255 - u32::from(alpha))) / 255) as u8
        };
        image::Rgb([over(red), over(green), over(blue)])
    })
}

fn encode(picture: &RgbImage, path: &str) -> Result<Vec<u8>> {
    let mut file = Cursor::new(Vec::new());
    picture
        .write_to(&mut file, ImageFormat::Png)
        .map_err(|error| failed("encode", path, error))?;
    Ok(file.into_inner())
}

fn failed(action: &'static str, path: &str, error: impl ToString) -> Error {
    Error::Io {
        action,
        path: path.to_owned(),
        source: io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sykli_guest::testing::Fake;

    fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let picture = RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x % 256) as u8, (y % 256) as u8, 128])
        });
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    fn thumbnail(path: &str, file: &[u8]) -> (Option<DynamicImage>, String) {
        let host = Fake::new()
            .param("size", 100)
            .item(path)
            .input(path, file)
            .enter();
        task().unwrap();
        let small = host.output(&format!("thumbs/{path}.png")).ok();
        let caption = host.output(&format!("thumbs/{path}.json")).unwrap();
        (
            small.map(|file| image::load_from_memory(&file).unwrap()),
            String::from_utf8(caption).unwrap(),
        )
    }

    #[test]
    fn every_format_shrinks_and_keeps_its_shape() {
        for (format, path) in [
            (ImageFormat::Jpeg, "photos/a.jpg"),
            (ImageFormat::Png, "photos/b.png"),
            (ImageFormat::Pnm, "photos/deep/c.ppm"),
            (ImageFormat::Bmp, "photos/d.bmp"),
            (ImageFormat::WebP, "photos/e.webp"),
            (ImageFormat::Gif, "photos/f.gif"),
        ] {
            let (small, caption) = thumbnail(path, &picture(1000, 400, format));
            let small = small.unwrap();
            assert_eq!((small.width(), small.height()), (100, 40), "{path}");
            assert!(caption.contains("\"width\": 1000"), "{caption}");
        }
    }

    #[test]
    fn a_small_picture_is_not_blown_up() {
        let (small, _) = thumbnail("photos/a.png", &picture(20, 30, ImageFormat::Png));
        assert_eq!(
            small.map(|small| (small.width(), small.height())),
            Some((20, 30))
        );
    }

    #[test]
    fn what_is_no_picture_leaves_a_caption_that_says_so() {
        let (small, caption) = thumbnail("photos/notes.jpg", b"not a picture");
        assert!(small.is_none());
        assert!(caption.contains("\"error\": \""), "{caption}");
        let (small, _) = thumbnail("photos/torn.png", &picture(90, 90, ImageFormat::Png)[..300]);
        assert!(small.is_none());
    }
}
