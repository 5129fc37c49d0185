//! Puts the contact sheet together: the rendering, composed from its tiles, and below it every thumbnail with a caption.
//! Reads what the tasks `render` and `thumbs` left; writes `contact-sheet.png`.

mod canvas;
mod layout;

use std::io::{self, Cursor};
use std::process::ExitCode;

use image::{ImageFormat, RgbImage};
use serde::Deserialize;
use sykli_guest::{Error, Result, inputs, log, outputs, param_or, progress};

use crate::layout::Photo;

/// Where a tile belongs, as the rendering task noted it.
#[derive(Debug, Deserialize)]
struct Tile {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    picture: (u32, u32),
}

/// What the thumbnail task noted of a picture.
#[derive(Debug, Deserialize)]
struct Caption {
    path: String,
    width: u32,
    height: u32,
    bytes: u64,
    error: Option<String>,
}

fn main() -> ExitCode {
    sykli_guest::run(task)
}

fn task() -> Result<()> {
    let title: String = param_or("title", "Contact sheet".to_owned())?;
    let rendering = compose()?;
    let photos = photos()?;
    let sheet = layout::sheet(&title, &rendering, &photos);
    let mut file = Cursor::new(Vec::new());
    sheet
        .write_to(&mut file, ImageFormat::Png)
        .map_err(|error| failed("encode", "the sheet", error))?;
    outputs::write("contact-sheet.png", file.into_inner())?;
    let size = format!("{} × {}", sheet.width(), sheet.height());
    log::info(
        "contact sheet written",
        &[("photos", &photos.len()), ("size", &size)],
    );
    Ok(())
}

/// The whole rendering, from its tiles.
fn compose() -> Result<RgbImage> {
    let tiles = inputs::from_task("render");
    let mut whole: Option<RgbImage> = None;
    let mut missing = 0u64;
    for note in tiles
        .list("tiles")?
        .iter()
        .filter(|path| path.ends_with(".json"))
    {
        let tile: Tile = tiles.json(note)?;
        let (width, height) = tile.picture;
        let whole = whole.get_or_insert_with(|| {
            missing = u64::from(width) * u64::from(height);
            RgbImage::new(width, height)
        });
        let path = note.replace(".json", ".png");
        let picture = decode(&tiles.read(&path)?, &path)?;
        let fits = picture.dimensions() == (tile.width, tile.height)
            && u64::from(tile.x) + u64::from(tile.width) <= whole.width().into()
            && u64::from(tile.y) + u64::from(tile.height) <= whole.height().into();
        if !fits {
            return Err(failed("place", &path, "it does not fit the picture"));
        }
        image::imageops::replace(whole, &picture, tile.x.into(), tile.y.into());
        missing = missing.saturating_sub(u64::from(tile.width) * u64::from(tile.height));
    }
    match whole {
        Some(whole) if missing == 0 => Ok(whole),
        _ => Err(failed("compose", "the rendering", "tiles are missing")),
    }
}

/// Every thumbnail, in the order of their paths.
fn photos() -> Result<Vec<Photo>> {
    let thumbs = inputs::from_task("thumbs");
    let notes: Vec<_> = thumbs
        .list("thumbs")?
        .into_iter()
        .filter(|path| path.ends_with(".json"))
        .collect();
    let mut photos = Vec::new();
    for (done, note) in notes.iter().enumerate() {
        progress(done as u64, notes.len() as u64, note);
        let Caption {
            path,
            width,
            height,
            bytes,
            error,
        } = thumbs.json(note)?;
        let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
        let photo = if let Some(error) = error {
            Photo {
                name,
                about: error,
                picture: None,
            }
        } else {
            let small = note.trim_end_matches(".json").to_owned() + ".png";
            let picture = decode(&thumbs.read(&small)?, &small)?;
            Photo {
                name,
                about: format!("{width} × {height}, {}", layout::size(bytes)),
                picture: Some(picture),
            }
        };
        photos.push(photo);
    }
    Ok(photos)
}

fn decode(file: &[u8], path: &str) -> Result<RgbImage> {
    let picture = image::load_from_memory_with_format(file, ImageFormat::Png);
    picture
        .map(|picture| picture.to_rgb8())
        .map_err(|error| failed("decode", path, error))
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

    fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        RgbImage::from_pixel(width, height, image::Rgb(colour))
            .write_to(&mut file, ImageFormat::Png)
            .unwrap();
        file.into_inner()
    }

    fn tile(fake: Fake, index: u32, colour: [u8; 3]) -> Fake {
        let note = format!(
            r#"{{"x":{},"y":0,"width":50,"height":40,"picture":[100,40]}}"#,
            index * 50
        );
        fake.input_from("render", &format!("tiles/{index}.png"), png(50, 40, colour))
            .input_from("render", &format!("tiles/{index}.json"), note)
    }

    fn photo(fake: Fake, name: &str, error: Option<&str>) -> Fake {
        let error = error.map_or("null".to_owned(), |error| format!("\"{error}\""));
        let note = format!(
            r#"{{"path":"photos/{name}","width":60,"height":40,"bytes":1234,"error":{error}}}"#
        );
        fake.input_from(
            "thumbs",
            &format!("thumbs/photos/{name}.png"),
            png(60, 40, [9, 9, 9]),
        )
        .input_from("thumbs", &format!("thumbs/photos/{name}.json"), note)
    }

    #[test]
    fn a_sheet_holds_the_composed_rendering_and_grows_with_the_photos() {
        let height = |count: usize| {
            let mut fake = tile(tile(Fake::new(), 0, [255, 0, 0]), 1, [0, 0, 255]);
            for i in 0..count {
                fake = photo(fake, &format!("{i}.jpg"), (i == 1).then_some("torn"));
            }
            let host = fake.enter();
            task().unwrap();
            let sheet = image::load_from_memory(&host.output("contact-sheet.png").unwrap())
                .unwrap()
                .to_rgb8();
            let has = |colour: [u8; 3]| sheet.pixels().any(|pixel| pixel.0 == colour);
            assert!(has([255, 0, 0]) && has([0, 0, 255]));
            sheet.height()
        };
        assert!(height(2) < height(20));
    }

    #[test]
    fn a_missing_tile_is_an_error_and_not_a_black_hole() {
        let _host = photo(tile(Fake::new(), 0, [255, 0, 0]), "a.jpg", None).enter();
        assert!(
            task()
                .unwrap_err()
                .to_string()
                .contains("tiles are missing")
        );
    }
}
