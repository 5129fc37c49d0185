//! Renders one tile of a picture by path tracing: the tile is this instance's shard, the picture is described by params
//! (`width`, `height`, `samples`). Leaves `tiles/<index>.png` and, beside it, where the tile belongs, for the task that
//! puts the picture together. The same params give the same picture, however many tiles it is cut into: randomness comes
//! from pixel and sample numbers.

mod scene;
mod tile;
mod trace;
mod vector;

use std::process::ExitCode;

use serde::Deserialize;
use sykli_guest::{Result, log, outputs, params, progress, shard};

use crate::scene::Scene;
use crate::tile::Tile;

#[derive(Clone, Copy, Debug, Deserialize)]
struct Params {
    /// Of the whole picture, in pixels.
    width: u32,
    height: u32,
    /// Paths traced for each pixel: more is slower and less grainy.
    samples: u32,
}

fn main() -> ExitCode {
    sykli_guest::run(task)
}

fn task() -> Result<()> {
    let Params {
        width,
        height,
        samples,
    } = params()?;
    let shard = shard();
    let tile = Tile::of(shard.index, shard.count, width, height);
    let scene = Scene::new();

    let mut pixels = Vec::with_capacity(tile.width as usize * tile.height as usize * 3);
    for row in 0..tile.height {
        progress(
            row.into(),
            tile.height.into(),
            format!("tile {}", shard.index + 1),
        );
        for column in 0..tile.width {
            let light = trace::pixel(
                &scene,
                tile.x + column,
                tile.y + row,
                (width, height),
                samples,
            );
            pixels.extend(trace::develop(light));
        }
    }
    progress(
        tile.height.into(),
        tile.height.into(),
        format!("tile {}", shard.index + 1),
    );

    outputs::write(
        format!("tiles/{}.png", shard.index),
        encode(&tile, &pixels)?,
    )?;
    outputs::json(format!("tiles/{}.json", shard.index), &tile)?;
    log::info(
        "rendered",
        &[
            ("tile", &shard.index),
            ("pixels", &(pixels.len() / 3)),
            ("samples", &samples),
        ],
    );
    Ok(())
}

fn encode(tile: &Tile, pixels: &[u8]) -> Result<Vec<u8>> {
    let failed = |error| sykli_guest::Error::Io {
        action: "encode",
        path: "the tile".to_owned(),
        source: std::io::Error::other(error),
    };
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, tile.width, tile.height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sykli_guest::testing::Fake;

    fn fake(index: u32, count: u32) -> Fake {
        Fake::new()
            .param("width", 24)
            .param("height", 12)
            .param("samples", 2)
            .shard(index, count)
    }

    #[test]
    fn a_shard_leaves_its_tile_and_reports_every_row() {
        let host = fake(1, 2).enter();
        task().unwrap();
        assert_eq!(host.outputs().unwrap(), ["tiles/1.json", "tiles/1.png"]);
        let last = host.progress().pop().unwrap();
        assert_eq!((last.done, last.total), (12, 12));
        assert!(host.output("tiles/1.png").unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn the_same_shard_gives_the_same_bytes() {
        let render = || {
            let host = fake(0, 2).enter();
            task().unwrap();
            host.output("tiles/0.png").unwrap()
        };
        assert_eq!(render(), render());
    }

    #[test]
    fn a_missing_param_is_named() {
        let _host = Fake::new().param("width", 24).enter();
        assert!(task().unwrap_err().to_string().contains("height"));
    }
}
