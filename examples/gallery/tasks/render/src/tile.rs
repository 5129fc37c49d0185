//! How a picture is cut into tiles: a grid of as many cells as there are shards, as square as it goes. Arithmetic only.

use serde::Serialize;

/// A rectangle of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tile {
    /// Where its upper left corner is, in pixels of the whole picture.
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
    /// The size of the whole picture.
    pub picture: (u32, u32),
}

impl Tile {
    /// Tile number `index` of `count` of a picture.
    pub fn of(index: u32, count: u32, width: u32, height: u32) -> Tile {
        let columns = columns(count, width, height);
        let rows = count / columns;
        let (column, row) = (index % columns, index / columns);
        let (x, right) = (cut(column, columns, width), cut(column + 1, columns, width));
        let (y, bottom) = (cut(row, rows, height), cut(row + 1, rows, height));
        Tile {
            x,
            y,
            width: right - x,
            height: bottom - y,
            picture: (width, height),
        }
    }
}

/// The divisor of `count` whose cells are the most nearly square.
fn columns(count: u32, width: u32, height: u32) -> u32 {
    let stretch = |columns: u32| {
        let (across, down) = (
            f64::from(width) / f64::from(columns),
            f64::from(height) * f64::from(columns) / f64::from(count),
        );
        (across / down).ln().abs()
    };
    let divisors = (1..=count).filter(|columns| count.is_multiple_of(*columns));
    divisors
        .min_by(|a, b| stretch(*a).total_cmp(&stretch(*b)))
        .unwrap_or(1)
}

/// Where cell `i` of `cells` begins in `length` pixels.
fn cut(i: u32, cells: u32, length: u32) -> u32 {
    (u64::from(length) * u64::from(i) / u64::from(cells)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_picture_once() {
        for count in [1, 2, 5, 7, 12, 16, 36] {
            let (width, height) = (101, 53);
            let mut covered = vec![0u8; (width * height) as usize];
            for tile in (0..count).map(|index| Tile::of(index, count, width, height)) {
                for y in tile.y..tile.y + tile.height {
                    for x in tile.x..tile.x + tile.width {
                        covered[(y * width + x) as usize] += 1;
                    }
                }
            }
            assert!(covered.iter().all(|&times| times == 1), "{count} tiles");
        }
    }

    #[test]
    fn twelve_tiles_of_a_wide_picture_are_nearly_square() {
        let tile = Tile::of(0, 12, 1200, 600);
        assert_eq!((tile.width, tile.height), (300, 200));
    }
}
