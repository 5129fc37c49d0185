//! How light comes to a pixel: paths from the camera through the scene, lit by the sun where they scatter and by the sky
//! where they leave; and how light becomes a colour on screen. Randomness is a function of pixel and sample alone.

use std::f32::consts::TAU;

use crate::scene::{Hit, Material, Ray, SUN, SUN_LIGHT, SUN_SPREAD, Scene};
use crate::vector::{Vec3, vec3};

const EYE: Vec3 = vec3(1.6, 4.3, 10.4);
const TARGET: Vec3 = vec3(0.0, 0.55, 0.0);
/// Half the height of the view, at distance 1.
const VIEW: f32 = 0.275;
/// Radius of the lens: what is nearer or farther than the target blurs.
const LENS: f32 = 0.055;
const MAX_BOUNCES: u32 = 7;

/// The light that reaches pixel (`x`, `y`) of a picture of this size, the mean of `samples` paths.
pub fn pixel(scene: &Scene, x: u32, y: u32, size: (u32, u32), samples: u32) -> Vec3 {
    let (width, height) = (size.0 as f32, size.1 as f32);
    let forward = (TARGET - EYE).unit();
    let right = forward.cross(vec3(0.0, 1.0, 0.0)).unit();
    let up = right.cross(forward);
    let focus = (TARGET - EYE).dot(forward);
    let across = (samples as f32).sqrt().ceil() as u32;

    let mut sum = Vec3::default();
    for sample in 0..samples {
        let mut random = Random::new(x, y, sample);
        // Samples spread over the pixel in a grid, shaken within their cells.
        let (cell_x, cell_y) = ((sample % across) as f32, (sample / across % across) as f32);
        let at_x = x as f32 + (cell_x + random.next()) / across as f32;
        let at_y = y as f32 + (cell_y + random.next()) / across as f32;
        let (u, v) = (
            (2.0 * at_x - width) / height * VIEW,
            (height - 2.0 * at_y) / height * VIEW,
        );
        let aim = EYE + (forward + right * u + up * v) * focus;
        let (radius, angle) = (LENS * random.next().sqrt(), TAU * random.next());
        let origin = EYE + right * (radius * angle.cos()) + up * (radius * angle.sin());
        let light = path(
            scene,
            Ray {
                origin,
                direction: (aim - origin).unit(),
            },
            &mut random,
        );
        // One path that meets the sun's mirror image must not leave a lone bright dot.
        sum = sum + light.min(vec3(12.0, 12.0, 12.0));
    }
    sum * (1.0 / samples.max(1) as f32)
}

/// Light as it is shown: exposure, a film-like shoulder, gamma, 8 bits.
pub fn develop(light: Vec3) -> [u8; 3] {
    let shown = light.map(|part| {
        let part = part * 0.60;
        let film = part * (2.51 * part + 0.03) / (part * (2.43 * part + 0.59) + 0.14);
        film.clamp(0.0, 1.0).powf(1.0 / 2.2)
    });
    [shown.x, shown.y, shown.z].map(|part| (part * 255.0 + 0.5) as u8)
}

fn path(scene: &Scene, mut ray: Ray, random: &mut Random) -> Vec3 {
    let mut light = Vec3::default();
    let mut filter = vec3(1.0, 1.0, 1.0);
    // A surface is lit by the sun directly: a path that scattered and meets the sun by chance would count it twice.
    let mut sun_counts = true;
    for bounce in 0..MAX_BOUNCES {
        let Some(hit) = scene.hit(&ray) else {
            return light + filter * sky(ray.direction, sun_counts);
        };
        let (next, colour, scattered) = bounce_off(&ray, &hit, random);
        if scattered {
            let towards = cone(SUN.unit(), SUN_SPREAD, random);
            let slant = hit.normal.dot(towards);
            let from = hit.point + hit.normal * 2e-3;
            if slant > 0.0 {
                light = light
                    + filter
                        * colour
                        * SUN_LIGHT
                        * (slant * 0.62 * scene.light_from(from, towards));
            }
        }
        sun_counts &= !scattered;
        filter = filter * colour;
        // Distance fades into the horizon, so that the floor has no edge.
        if bounce == 0 {
            let haze = 1.0 - (-(hit.distance * 0.018).powi(3)).exp();
            if random.next() < haze {
                return sky(vec3(ray.direction.x, 0.01, ray.direction.z).unit(), false);
            }
        }
        // Paths that carry little end early, the others carry more for it.
        if bounce > 2 {
            let keep = filter.largest().min(0.95);
            if random.next() > keep {
                return light;
            }
            filter = filter * (1.0 / keep);
        }
        ray = next;
    }
    light
}

/// Where a path goes on, what it loses, and whether it was scattered (and not mirrored or bent).
fn bounce_off(ray: &Ray, hit: &Hit, random: &mut Random) -> (Ray, Vec3, bool) {
    let outside = ray.direction.dot(hit.normal) < 0.0;
    let normal = if outside { hit.normal } else { -hit.normal };
    let above = hit.point + normal * 2e-3;
    let mirrored = ray.direction.reflect(normal);
    let white = vec3(1.0, 1.0, 1.0);
    let slant = -ray.direction.dot(normal);
    match hit.material {
        Material::Metal(colour, roughness) => {
            let blurred = (mirrored + random.on_sphere() * roughness).unit();
            let tint = colour.mix(white, schlick(slant, 0.0));
            (
                Ray {
                    origin: above,
                    direction: blurred,
                },
                tint,
                false,
            )
        }
        Material::Glossy(_) if random.next() < schlick(slant, 0.04) => (
            Ray {
                origin: above,
                direction: mirrored,
            },
            white,
            false,
        ),
        Material::Glossy(colour) | Material::Matte(colour) => {
            let scattered = (normal + random.on_sphere() * 0.999).unit();
            (
                Ray {
                    origin: above,
                    direction: scattered,
                },
                colour,
                true,
            )
        }
        Material::Glass => {
            let ratio = if outside { 1.0 / 1.5 } else { 1.5 };
            let bent = 1.0 - ratio * ratio * (1.0 - slant * slant);
            if bent < 0.0
                || random.next() < schlick(if outside { slant } else { bent.sqrt() }, 0.04)
            {
                return (
                    Ray {
                        origin: above,
                        direction: mirrored,
                    },
                    white,
                    false,
                );
            }
            let direction = (ray.direction * ratio + normal * (ratio * slant - bent.sqrt())).unit();
            (
                Ray {
                    origin: hit.point - normal * 2e-3,
                    direction,
                },
                vec3(0.985, 0.99, 0.99),
                false,
            )
        }
    }
}

/// The part of light that is mirrored at this slant (the cosine), `straight` of it head on.
fn schlick(slant: f32, straight: f32) -> f32 {
    straight + (1.0 - straight) * (1.0 - slant.clamp(0.0, 1.0)).powi(5)
}

/// An evening: deep blue above, rose and amber at the horizon, brighter around the sun.
fn sky(direction: Vec3, with_sun: bool) -> Vec3 {
    let height = direction.y.max(0.0);
    let towards_sun = direction.dot(SUN.unit()).max(0.0);
    let horizon = vec3(1.02, 0.66, 0.50).mix(vec3(1.25, 0.86, 0.50), towards_sun * towards_sun);
    let low = horizon.mix(vec3(0.46, 0.47, 0.68), (height * 3.2).min(1.0).sqrt());
    let gradient = low.mix(vec3(0.10, 0.20, 0.46), (height * 1.15).min(1.0));
    let glow = vec3(1.0, 0.65, 0.33) * (0.55 * towards_sun.powi(24));
    let disc = if with_sun && towards_sun > 1.0 - SUN_SPREAD {
        SUN_LIGHT * 6.0
    } else {
        Vec3::default()
    };
    gradient + glow + disc
}

/// A direction near `axis`, evenly within the cone whose cosine is `1 - spread`.
fn cone(axis: Vec3, spread: f32, random: &mut Random) -> Vec3 {
    let along = 1.0 - spread * random.next();
    let (aside, angle) = ((1.0 - along * along).max(0.0).sqrt(), TAU * random.next());
    let side = axis.cross(vec3(0.0, 1.0, 0.0)).unit();
    let other = axis.cross(side);
    axis * along + side * (aside * angle.cos()) + other * (aside * angle.sin())
}

/// PCG, 32 bits of output from 64 of state.
struct Random(u64);

impl Random {
    fn new(x: u32, y: u32, sample: u32) -> Random {
        let mut random = Random(
            (u64::from(y) << 32 | u64::from(x))
                ^ u64::from(sample).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        );
        random.step();
        random.step();
        random
    }

    fn step(&mut self) -> u32 {
        let old = self.0;
        self.0 = old
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = ((old >> ((old >> 59) + 5)) ^ old).wrapping_mul(12_605_985_483_714_917_081);
        (mixed >> 43 ^ mixed) as u32
    }

    /// From 0 to below 1.
    fn next(&mut self) -> f32 {
        (self.step() >> 8) as f32 / 16_777_216.0
    }

    fn on_sphere(&mut self) -> Vec3 {
        let height = 2.0 * self.next() - 1.0;
        let (aside, angle) = ((1.0 - height * height).max(0.0).sqrt(), TAU * self.next());
        vec3(aside * angle.cos(), height, aside * angle.sin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randomness_is_even_and_repeats() {
        let draw = || {
            let mut random = Random::new(3, 4, 5);
            (0..10_000).map(|_| random.next()).collect::<Vec<_>>()
        };
        let numbers = draw();
        assert_eq!(numbers, draw());
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }

    #[test]
    fn a_glass_surface_never_adds_light() {
        for slant in [0.0, 0.1, 0.5, 1.0] {
            assert!((0.0..=1.0).contains(&schlick(slant, 0.04)));
        }
    }

    #[test]
    fn black_stays_black_and_much_light_turns_white() {
        assert_eq!(develop(Vec3::default()), [0, 0, 0]);
        assert_eq!(develop(vec3(100.0, 100.0, 100.0)), [255, 255, 255]);
    }
}
