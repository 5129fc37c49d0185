//! Paints the pictures of `photos/`, in several formats and shapes: `cargo run --example make-photos -- ../../photos`.
//! Each is a function of a place, evaluated with 3 × 3 samples a pixel.

use std::f32::consts::{PI, TAU};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, Rgb, RgbImage};

type Colour = [f32; 3];
/// A colour for a place: both coordinates from -1 to 1 along the shorter side, y upwards.
type Painter = fn(f32, f32) -> Colour;

fn main() {
    let folder = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "photos".to_owned());
    let pictures: [(&str, u32, u32, Painter); 12] = [
        ("aurora.jpg", 640, 400, aurora),
        ("blue-hour.jpg", 600, 400, mountains),
        ("dahlia.jpg", 480, 480, dahlia),
        ("desert.jpg", 640, 420, desert),
        ("eclipse.jpg", 440, 440, eclipse),
        ("harbour.jpg", 340, 476, harbour),
        ("leaf.jpg", 420, 560, leaf),
        ("mandelbrot.jpg", 390, 260, mandelbrot),
        ("marble.ppm", 116, 87, marble),
        ("planet.jpg", 520, 400, planet),
        ("ripples.jpg", 520, 371, ripples),
        ("tiles.png", 280, 210, tiles),
    ];
    fs::create_dir_all(&folder).expect("the folder can be made");
    for (name, width, height, painter) in pictures {
        let picture = paint(width, height, painter);
        let path = Path::new(&folder).join(name);
        if name.ends_with(".jpg") {
            let mut file = BufWriter::new(File::create(&path).expect("the file can be made"));
            JpegEncoder::new_with_quality(&mut file, 76)
                .encode_image(&picture)
                .expect("it encodes");
        } else {
            let format = if name.ends_with(".png") {
                ImageFormat::Png
            } else {
                ImageFormat::Pnm
            };
            picture.save_with_format(&path, format).expect("it encodes");
        }
        println!(
            "{} {} bytes",
            path.display(),
            fs::metadata(&path).map_or(0, |about| about.len())
        );
    }
}

fn paint(width: u32, height: u32, painter: Painter) -> RgbImage {
    let short = width.min(height) as f32;
    RgbImage::from_fn(width, height, |x, y| {
        let mut sum = [0.0; 3];
        for sample in 0..9 {
            let (dx, dy) = (
                (sample % 3) as f32 / 3.0 + 1.0 / 6.0,
                (sample / 3) as f32 / 3.0 + 1.0 / 6.0,
            );
            let u = (2.0 * (x as f32 + dx) - width as f32) / short;
            let v = (height as f32 - 2.0 * (y as f32 + dy)) / short;
            let colour = painter(u, v);
            for (sum, part) in sum.iter_mut().zip(colour) {
                *sum += part.clamp(0.0, 1.0) / 9.0;
            }
        }
        Rgb(sum.map(|part| (part.powf(1.0 / 2.2) * 255.0 + 0.5) as u8))
    })
}

fn mix(a: Colour, b: Colour, part: f32) -> Colour {
    let part = part.clamp(0.0, 1.0);
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * part)
}

fn add(a: Colour, b: Colour, times: f32) -> Colour {
    [0, 1, 2].map(|i| a[i] + b[i] * times)
}

fn smooth(from: f32, to: f32, x: f32) -> f32 {
    let part = ((x - from) / (to - from)).clamp(0.0, 1.0);
    part * part * (3.0 - 2.0 * part)
}

fn hash(x: i32, y: i32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x85eb_ca6b) ^ (y as u32).wrapping_mul(0xc2b2_ae35);
    h = (h ^ h >> 15).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ h >> 12).wrapping_mul(0x297a_2d39);
    ((h ^ h >> 15) >> 8) as f32 / 16_777_216.0
}

/// Value noise, 0 to 1.
fn noise(x: f32, y: f32) -> f32 {
    let (cell_x, cell_y) = (x.floor(), y.floor());
    let (u, v) = (smooth(0.0, 1.0, x - cell_x), smooth(0.0, 1.0, y - cell_y));
    let at = |dx: i32, dy: i32| hash(cell_x as i32 + dx, cell_y as i32 + dy);
    let low = at(0, 0) * (1.0 - u) + at(1, 0) * u;
    let high = at(0, 1) * (1.0 - u) + at(1, 1) * u;
    low * (1.0 - v) + high * v
}

/// Noise of several scales, 0 to 1.
fn clouds(x: f32, y: f32) -> f32 {
    let octave =
        |scale: f32, weight: f32| weight * noise(x * scale + 7.3 * scale, y * scale - 3.1 * scale);
    octave(1.0, 0.5) + octave(2.0, 0.25) + octave(4.0, 0.125) + octave(8.0, 0.0625) + 0.03
}

fn stars(x: f32, y: f32, scale: f32) -> f32 {
    let (u, v) = (x * scale, y * scale);
    let (cell_x, cell_y) = (u.floor() as i32, v.floor() as i32);
    let bright = hash(cell_x, cell_y);
    let (dx, dy) = (
        u.fract().rem_euclid(1.0) - 0.5,
        v.fract().rem_euclid(1.0) - 0.5,
    );
    smooth(0.96, 1.0, bright) * smooth(0.16, 0.02, (dx * dx + dy * dy).sqrt())
}

fn aurora(x: f32, y: f32) -> Colour {
    let mut colour = mix([0.01, 0.02, 0.06], [0.02, 0.07, 0.13], 0.5 - y * 0.5);
    colour = add(
        colour,
        [1.0, 1.0, 1.0],
        stars(x, y, 16.0) * smooth(-0.6, 0.2, y),
    );
    for band in 0..3 {
        let shift = band as f32;
        let base = -0.15
            + 0.22 * shift
            + 0.28 * (x * 1.3 + shift * 1.9).sin() * (0.5 + noise(x + shift * 5.0, 2.0));
        let above = y - base;
        let ray = 0.55 + 0.45 * noise(x * 9.0 + shift * 31.0, above * 0.6);
        let glow = smooth(-0.06, 0.02, above) * (-above.max(0.0) * 3.2).exp() * ray;
        colour = add(
            colour,
            mix([0.05, 0.75, 0.35], [0.45, 0.12, 0.65], above * 1.7),
            glow * 0.8,
        );
    }
    let hills = -0.72 + 0.14 * clouds(x * 1.4, 3.0) + 0.05 * (x * 2.0).sin();
    if y < hills {
        mix(
            [0.004, 0.008, 0.014],
            [0.02, 0.06, 0.07],
            smooth(hills - 0.5, hills, y),
        )
    } else {
        colour
    }
}

fn mountains(x: f32, y: f32) -> Colour {
    let mut colour = mix([0.95, 0.55, 0.35], [0.16, 0.26, 0.52], smooth(-0.2, 0.9, y));
    let (dx, dy) = (x - 0.55, y - 0.18);
    colour = add(
        colour,
        [1.0, 0.75, 0.4],
        0.5 * (-(dx * dx + dy * dy) * 9.0).exp(),
    );
    for layer in 0..6 {
        let depth = layer as f32 / 5.0;
        let scale = 0.9 + depth * 1.1;
        let ridge =
            0.30 - depth * 1.05 + 0.55 * (clouds(x * scale + depth * 17.0, depth * 5.0) - 0.4);
        if y < ridge {
            let near = mix([0.42, 0.36, 0.50], [0.012, 0.022, 0.05], depth.sqrt());
            let mist = smooth(0.0, 0.55, ridge - y) * (1.0 - depth) * 0.7;
            colour = mix(near, [0.80, 0.52, 0.45], mist);
        }
    }
    colour
}

fn dahlia(x: f32, y: f32) -> Colour {
    let (away, angle) = ((x * x + y * y).sqrt(), y.atan2(x));
    let mut colour = mix(
        [0.02, 0.05, 0.035],
        [0.05, 0.11, 0.07],
        clouds(x * 2.0, y * 2.0),
    );
    for ring in 0..9 {
        let reach = 0.94 - ring as f32 * 0.095;
        let petals = 16.0 - ring as f32;
        let turn = (angle + ring as f32 * 0.71) * petals / TAU;
        let across = (turn.rem_euclid(1.0) - 0.5).abs() * 2.0;
        let edge = reach * (1.0 - 0.26 * across * across * across);
        if away < edge {
            let tip = smooth(edge - 0.26, edge, away);
            let petal = mix(
                [0.50, 0.02, 0.14],
                [1.0, 0.42, 0.36],
                tip * (1.0 - 0.5 * across),
            );
            colour = mix(petal, [0.16, 0.0, 0.06], smooth(0.55, 1.0, across) * 0.75);
            colour = mix(colour, [1.0, 0.78, 0.45], 0.55 * smooth(0.42, 0.0, away));
        }
    }
    mix(
        colour,
        [0.98, 0.72, 0.20],
        smooth(0.11, 0.05, away + 0.02 * noise(x * 60.0, y * 60.0)),
    )
}

fn desert(x: f32, y: f32) -> Colour {
    let mut colour = mix([1.0, 0.80, 0.55], [0.30, 0.48, 0.75], smooth(0.05, 1.0, y));
    let sun = ((x + 0.7) * (x + 0.7) + (y - 0.52) * (y - 0.52)).sqrt();
    colour = mix(
        colour,
        [1.0, 0.95, 0.82],
        smooth(0.14, 0.125, sun) + 0.4 * (-sun * 3.0).exp(),
    );
    for layer in 0..4 {
        let depth = layer as f32 / 3.0;
        let wave = 0.16 * (x * (1.6 - 0.5 * depth) + layer as f32 * 2.1).sin()
            + 0.07 * (x * 3.4 - layer as f32).sin();
        let crest = 0.08 - 0.42 * depth + wave * (0.6 + depth);
        if y < crest {
            let slope = (x * (1.6 - 0.5 * depth) + layer as f32 * 2.1).cos();
            let lit = smooth(-0.5, 0.7, slope - (crest - y) * 0.8);
            let rippled =
                0.5 + 0.5 * ((y - crest) * 70.0 + x * 14.0 + 3.0 * noise(x * 3.0, y * 3.0)).sin();
            colour = mix(
                [0.42, 0.15, 0.07],
                [0.98, 0.60, 0.28],
                lit * 0.85 + 0.10 * rippled * depth,
            );
        }
    }
    colour
}

fn eclipse(x: f32, y: f32) -> Colour {
    let (away, angle) = ((x * x + y * y).sqrt(), y.atan2(x));
    let stream = 0.6 + 0.4 * (angle * 3.0 + 0.6).sin() * (angle * 5.0).cos();
    let corona = (-(away - 0.42).max(0.0) * (3.4 - 1.4 * stream)).exp() * stream;
    let ring = (-((away - 0.425) * 42.0).powi(2)).exp();
    let mut colour = mix(
        [0.0, 0.0, 0.0],
        [0.75, 0.82, 0.95],
        corona * smooth(0.40, 0.44, away) * 0.9,
    );
    colour = add(colour, [1.0, 0.95, 0.85], ring * smooth(0.405, 0.43, away));
    let (dx, dy) = (x - 0.31, y - 0.295);
    add(
        colour,
        [1.0, 0.98, 0.92],
        1.4 * (-(dx * dx + dy * dy) * 160.0).exp(),
    )
}

fn harbour(x: f32, y: f32) -> Colour {
    let water = y < -0.35;
    let (sway, up) = if water {
        let below = -0.35 - y;
        (
            x + 0.04 * (below * 60.0 + 2.0 * noise(x * 3.0, y * 20.0)).sin() * below.sqrt(),
            -0.7 - y,
        )
    } else {
        (x, y)
    };
    let mut colour = mix(
        [0.95, 0.42, 0.30],
        [0.05, 0.06, 0.20],
        smooth(-0.4, 1.0, up),
    );
    colour = add(
        colour,
        [1.0, 1.0, 1.0],
        stars(sway, up, 11.0) * smooth(0.3, 0.9, up),
    );
    let house = (sway * 4.6).floor();
    let top = -0.05 + 0.55 * hash(house as i32, 9) * (1.0 - 0.4 * sway.abs());
    if up < top {
        colour = mix(
            [0.02, 0.02, 0.05],
            [0.09, 0.05, 0.10],
            hash(house as i32, 3),
        );
        let (column, row) = ((sway * 4.6).fract().rem_euclid(1.0) * 3.0, up * 13.0);
        let inside =
            (column.fract() - 0.5).abs() < 0.26 && (row.rem_euclid(1.0) - 0.5).abs() < 0.24;
        if inside
            && hash((house * 3.0 + column.floor()) as i32, row.floor() as i32) > 0.55
            && up > -0.32
            && top - up > 0.05
        {
            colour = [1.0, 0.72, 0.32];
        }
    }
    if water {
        mix(
            [colour[0] * 0.7, colour[1] * 0.75, colour[2] * 0.85],
            [0.02, 0.03, 0.09],
            0.25,
        )
    } else {
        colour
    }
}

fn leaf(x: f32, y: f32) -> Colour {
    let light = mix(
        [0.75, 0.84, 0.60],
        [0.28, 0.50, 0.30],
        smooth(-1.2, 1.0, clouds(x * 0.8, y * 0.8) * 2.0 - y - 0.5),
    );
    let along = (y + 1.0) / 2.05;
    let bend = 0.10 * (y * 1.6).sin();
    let aside = x - bend;
    let width = 0.62 * (along.clamp(0.0, 1.0) * PI).sin().powf(0.8) * (1.15 - 0.45 * along);
    if !(0.0..1.0).contains(&along) || aside.abs() > width {
        let stem = y < -0.96 && aside.abs() < 0.018;
        return if stem { [0.16, 0.24, 0.07] } else { light };
    }
    let vein = ((along * 13.0 - aside.abs() * 5.2).rem_euclid(1.0) - 0.5).abs();
    let rib = smooth(0.022, 0.006, aside.abs()) + 0.7 * smooth(0.07, 0.02, vein);
    let blade = mix(
        [0.04, 0.22, 0.05],
        [0.24, 0.52, 0.10],
        0.5 + 0.9 * aside + 0.35 * (clouds(x * 5.0, y * 5.0) - 0.5),
    );
    mix(blade, [0.68, 0.82, 0.36], rib * 0.75)
}

fn mandelbrot(x: f32, y: f32) -> Colour {
    let (cx, cy) = (
        f64::from(x) * 0.0032 - 0.74529,
        f64::from(y) * 0.0032 + 0.11308,
    );
    let (mut a, mut b, mut steps) = (0.0f64, 0.0f64, 0u32);
    while a * a + b * b < 256.0 && steps < 500 {
        (a, b) = (a * a - b * b + cx, 2.0 * a * b + cy);
        steps += 1;
    }
    if steps == 500 {
        return [0.005, 0.01, 0.03];
    }
    let even = steps as f32 + 1.0 - ((a * a + b * b).ln() as f32 / 2.0).log2();
    let wave = |shift: f32| 0.5 + 0.5 * (even * 0.055 + shift).sin();
    [
        wave(5.2).powi(2),
        wave(5.6).powi(2) * 0.85,
        0.12 + 0.8 * wave(0.4).powi(2),
    ]
}

fn marble(x: f32, y: f32) -> Colour {
    let warp = clouds(x * 1.3, y * 1.3) * 5.0;
    let vein = (x * 1.8 + y * 2.6 + warp + 1.5 * clouds(x * 3.0 + warp, y * 3.0))
        .sin()
        .abs();
    let colour = mix([0.06, 0.22, 0.24], [0.80, 0.88, 0.82], vein.powf(0.55));
    let gold =
        smooth(0.05, 0.0, (vein - 0.42).abs()) * smooth(0.45, 0.6, clouds(x * 2.0 + 9.0, y * 2.0));
    mix(colour, [0.92, 0.62, 0.18], gold)
}

fn planet(x: f32, y: f32) -> Colour {
    let mut colour = add([0.004, 0.006, 0.018], [0.9, 0.95, 1.0], stars(x, y, 13.0));
    colour = add(
        colour,
        [0.12, 0.03, 0.14],
        smooth(0.35, 0.85, clouds(x * 1.1 + 4.0, y * 1.1)) * 0.6,
    );
    let (u, v) = (x * 0.94 + y * 0.34, y * 0.94 - x * 0.34);
    let ring = (u * u + v * v * 13.0).sqrt();
    let band = 0.35 + 0.65 * noise(ring * 24.0, 1.0);
    let on_ring = smooth(0.80, 0.83, ring)
        * smooth(1.24, 1.20, ring)
        * (0.3 + 0.7 * smooth(0.0, 0.03, (ring - 1.02).abs()));
    let away = (x * x + y * y).sqrt() / 0.58;
    let dust = mix(colour, [0.85, 0.72, 0.55], on_ring * band * 0.85);
    if away > 1.0 || (v < 0.0 && on_ring > 0.2) {
        return if v < 0.0 || away > 1.0 { dust } else { colour };
    }
    let z = (1.0 - away * away).max(0.0).sqrt();
    let lit = smooth(-0.15, 0.9, (-x * 0.62 + y * 0.42) / 0.58 + z * 0.55);
    let stripe = 0.5 + 0.5 * (v * 26.0 + 2.2 * clouds(u * 2.0, v * 9.0)).sin();
    let body = mix([0.62, 0.36, 0.22], [0.96, 0.84, 0.64], stripe);
    let shade = 1.0 - 0.6 * smooth(0.05, 0.0, (v - 0.10).abs());
    mix([0.01, 0.008, 0.015], body, lit * shade)
}

fn ripples(x: f32, y: f32) -> Colour {
    let drop = |dx: f32, dy: f32, tight: f32| {
        let away = ((x - dx) * (x - dx) + (y - dy) * (y - dy) * 1.9).sqrt();
        (away * tight).sin() * (-away * 1.3).exp()
    };
    let height = drop(-0.45, 0.1, 44.0)
        + 0.8 * drop(0.75, -0.35, 52.0)
        + 0.3 * (clouds(x * 2.0, y * 5.0) - 0.5);
    let sky = mix(
        [0.03, 0.22, 0.34],
        [0.62, 0.82, 0.86],
        smooth(-1.0, 1.0, y + height * 0.9),
    );
    mix(sky, [1.0, 0.97, 0.88], smooth(0.45, 0.85, height))
}

fn tiles(x: f32, y: f32) -> Colour {
    let (u, v) = (x * 3.0, y * 3.0);
    let (cell_x, cell_y) = (u.floor(), v.floor());
    let (mut s, t) = (u - cell_x, v - cell_y);
    if hash(cell_x as i32, cell_y as i32) > 0.5 {
        s = 1.0 - s;
    }
    let corner = (s * s + t * t)
        .sqrt()
        .min(((1.0 - s) * (1.0 - s) + (1.0 - t) * (1.0 - t)).sqrt());
    let line = smooth(0.17, 0.13, (corner - 0.5).abs());
    let ground = if corner < 0.5 {
        [0.05, 0.20, 0.42]
    } else {
        [0.86, 0.84, 0.76]
    };
    mix(ground, [0.86, 0.45, 0.20], line)
}
