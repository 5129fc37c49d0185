//! What is rendered: spheres laid out like the seeds of a sunflower around one of glass, on a floor of slate under an evening
//! sky; and how a ray finds what it hits, by a tree of boxes.

use crate::vector::{Vec3, least, most, vec3};

/// How a surface treats light.
#[derive(Clone, Copy, Debug)]
pub enum Material {
    /// Scatters evenly.
    Matte(Vec3),
    /// Scatters evenly below a clear coat that mirrors at low angles.
    Glossy(Vec3),
    /// Mirrors, blurred by its roughness.
    Metal(Vec3, f32),
    /// Bends light, and mirrors some.
    Glass,
}

#[derive(Clone, Copy, Debug)]
pub struct Sphere {
    centre: Vec3,
    radius: f32,
    material: Material,
}

#[derive(Clone, Copy, Debug)]
pub struct Ray {
    pub origin: Vec3,
    pub direction: Vec3,
}

/// Where a ray meets a surface.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    pub distance: f32,
    pub point: Vec3,
    /// Of length 1, pointing out of the body.
    pub normal: Vec3,
    pub material: Material,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: Vec3,
    high: Vec3,
}

/// A node of the tree: `count` spheres from `first`, or, where `count` is 0, two children: the next node and `first`.
#[derive(Clone, Copy, Debug)]
struct Node {
    bounds: Bounds,
    first: u32,
    count: u32,
}

pub struct Scene {
    spheres: Vec<Sphere>,
    nodes: Vec<Node>,
}

/// Where the sun stands, and how wide it is as seen from here (as the cosine's distance from 1).
pub const SUN: Vec3 = vec3(-0.62, 0.47, 0.62);
pub const SUN_SPREAD: f32 = 0.0022;
pub const SUN_LIGHT: Vec3 = vec3(5.4, 3.9, 2.5);

const SPHERES_A_LEAF: usize = 3;

impl Scene {
    pub fn new() -> Scene {
        let mut spheres = vec![
            Sphere {
                centre: vec3(0.0, 1.25, 0.0),
                radius: 1.25,
                material: Material::Glass,
            },
            Sphere {
                centre: vec3(0.0, 1.25, 0.0),
                radius: 0.62,
                material: Material::Metal(vec3(1.0, 0.72, 0.32), 0.04),
            },
        ];
        spheres.extend((9..190).map(seed));
        let mut nodes = Vec::new();
        let count = spheres.len();
        build(&mut spheres, 0, count, &mut nodes);
        Scene { spheres, nodes }
    }

    /// The nearest thing that the ray meets, the floor included.
    pub fn hit(&self, ray: &Ray) -> Option<Hit> {
        let floor = (ray.direction.y < -1e-5)
            .then(|| -ray.origin.y / ray.direction.y)
            .filter(|&distance| distance > 1e-3);
        let mut nearest = floor.unwrap_or(f32::INFINITY);
        let mut found = None;
        self.walk(ray, &mut nearest, |sphere, distance, limit| {
            *limit = distance;
            found = Some(sphere);
        });
        let at = |distance: f32| ray.origin + ray.direction * distance;
        if let Some(i) = found {
            let sphere = self.spheres[i];
            let point = at(nearest);
            let normal = (point - sphere.centre) * (1.0 / sphere.radius);
            return Some(Hit {
                distance: nearest,
                point,
                normal,
                material: sphere.material,
            });
        }
        floor.map(|distance| {
            let point = at(distance);
            Hit {
                distance,
                point,
                normal: vec3(0.0, 1.0, 0.0),
                material: Material::Glossy(floor_colour(point)),
            }
        })
    }

    /// How much of the light from this direction arrives: none behind a solid body, most of it behind glass (which lets
    /// shadows stay soft without the many paths that true caustics take). The floor throws no shadow.
    pub fn light_from(&self, from: Vec3, towards: Vec3) -> f32 {
        let (mut limit, mut passed) = (f32::INFINITY, 1.0);
        self.walk(
            &Ray {
                origin: from,
                direction: towards,
            },
            &mut limit,
            |at, _, limit| {
                passed *= if matches!(self.spheres[at].material, Material::Glass) {
                    0.72
                } else {
                    0.0
                };
                if passed == 0.0 {
                    *limit = 0.0;
                }
            },
        );
        passed
    }

    /// Calls `found` with each sphere that is met within `limit`, and its distance; it may lower the limit.
    fn walk(&self, ray: &Ray, limit: &mut f32, mut found: impl FnMut(usize, f32, &mut f32)) {
        let inverse = ray.direction.map(|part| 1.0 / part);
        let mut waiting = [0u32; 32];
        let mut depth = 1;
        while depth > 0 {
            depth -= 1;
            let i = waiting[depth];
            let node = &self.nodes[i as usize];
            if !node.bounds.meets(ray.origin, inverse, *limit) {
                continue;
            }
            if node.count == 0 {
                waiting[depth] = node.first;
                waiting[depth + 1] = i + 1;
                depth += 2;
                continue;
            }
            for at in node.first as usize..(node.first + node.count) as usize {
                if let Some(distance) = self.spheres[at]
                    .distance(ray)
                    .filter(|&distance| distance < *limit)
                {
                    found(at, distance, limit);
                }
            }
        }
    }
}

/// Sphere number `i` of the spiral.
fn seed(i: u32) -> Sphere {
    const GOLDEN_ANGLE: f32 = 2.399_963_2;
    let n = i as f32;
    let (angle, away) = (n * GOLDEN_ANGLE, 0.565 * n.sqrt());
    let radius = 0.17 + 0.0125 * away * away.sqrt();
    let centre = vec3(away * angle.cos(), radius, away * angle.sin());
    let colour = hue((away - 1.7) / 5.6);
    let material = match i % 7 {
        0 => Material::Metal(colour.mix(vec3(0.95, 0.93, 0.88), 0.45), 0.08),
        3 => Material::Glass,
        5 => Material::Metal(vec3(0.93, 0.94, 0.96), 0.0),
        1 | 4 => Material::Matte(colour),
        _ => Material::Glossy(colour),
    };
    Sphere {
        centre,
        radius,
        material,
    }
}

/// A colour of the spiral, 0 at its middle to 1 at its rim: coral, amber, jade, teal, blue, violet.
fn hue(turn: f32) -> Vec3 {
    const STOPS: [Vec3; 6] = [
        vec3(0.83, 0.16, 0.08),
        vec3(0.92, 0.45, 0.06),
        vec3(0.36, 0.52, 0.14),
        vec3(0.04, 0.42, 0.40),
        vec3(0.05, 0.16, 0.52),
        vec3(0.30, 0.08, 0.42),
    ];
    let at = turn.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let below = (at as usize).min(STOPS.len() - 2);
    STOPS[below].mix(STOPS[below + 1], at - below as f32)
}

/// Rings of slate, two shades that hardly differ.
fn floor_colour(point: Vec3) -> Vec3 {
    let away = (point.x * point.x + point.z * point.z).sqrt();
    let ring = (away * 0.9) as i32 % 2 == 0;
    if ring {
        vec3(0.36, 0.35, 0.37)
    } else {
        vec3(0.27, 0.27, 0.30)
    }
}

impl Sphere {
    fn bounds(&self) -> Bounds {
        let reach = vec3(self.radius, self.radius, self.radius);
        Bounds {
            low: self.centre - reach,
            high: self.centre + reach,
        }
    }

    /// How far along the ray it is met, from outside or from within.
    fn distance(&self, ray: &Ray) -> Option<f32> {
        let to = self.centre - ray.origin;
        let middle = to.dot(ray.direction);
        let miss = to - ray.direction * middle;
        let inside = self.radius * self.radius - miss.dot(miss);
        if inside < 0.0 {
            return None;
        }
        let half = inside.sqrt();
        [middle - half, middle + half]
            .into_iter()
            .find(|&distance| distance > 1e-3)
    }
}

impl Bounds {
    fn join(self, other: Bounds) -> Bounds {
        Bounds {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }

    fn meets(&self, origin: Vec3, inverse: Vec3, nearest: f32) -> bool {
        let (a, b) = (
            (self.low - origin) * inverse,
            (self.high - origin) * inverse,
        );
        let (near, far) = (a.min(b), a.max(b));
        let enter = most(near.largest(), 0.0);
        let leave = least(least(far.x, far.y), least(far.z, nearest));
        enter <= leave
    }
}

/// Sorts `spheres[from..to]` into a tree, halving along the longest side. Depth stays below the walk's 32.
fn build(spheres: &mut [Sphere], from: usize, to: usize, nodes: &mut Vec<Node>) {
    let part = &mut spheres[from..to];
    let bounds = part
        .iter()
        .map(Sphere::bounds)
        .reduce(Bounds::join)
        .unwrap_or(Bounds {
            low: Vec3::default(),
            high: Vec3::default(),
        });
    let at = nodes.len();
    nodes.push(Node {
        bounds,
        first: from as u32,
        count: (to - from) as u32,
    });
    if to - from <= SPHERES_A_LEAF {
        return;
    }
    let size = bounds.high - bounds.low;
    let along = |sphere: &Sphere| match size.largest() {
        longest if longest == size.x => sphere.centre.x,
        longest if longest == size.y => sphere.centre.y,
        _ => sphere.centre.z,
    };
    part.sort_by(|a, b| along(a).total_cmp(&along(b)));
    let middle = from.midpoint(to);
    build(spheres, from, middle, nodes);
    nodes[at].first = nodes.len() as u32;
    nodes[at].count = 0;
    build(spheres, middle, to, nodes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_finds_what_a_search_of_all_spheres_finds() {
        let scene = Scene::new();
        for i in 0..2000u32 {
            let turn = i as f32 * 0.731;
            let direction = vec3(turn.sin(), -0.25 - 0.2 * (turn * 1.7).cos(), turn.cos()).unit();
            let ray = Ray {
                origin: vec3(4.0 * (turn * 0.37).cos(), 3.0, 5.0),
                direction,
            };
            let (mut nearest, mut found) = (f32::INFINITY, None);
            scene.walk(&ray, &mut nearest, |at, distance, limit| {
                *limit = distance;
                found = Some(at);
            });
            let all = scene
                .spheres
                .iter()
                .filter_map(|sphere| sphere.distance(&ray))
                .fold(f32::INFINITY, f32::min);
            assert_eq!(nearest, all, "ray {i}");
            assert_eq!(found.is_some(), all.is_finite());
        }
    }

    #[test]
    fn below_a_sphere_there_is_shadow_and_beside_it_there_is_light() {
        let scene = Scene::new();
        assert_eq!(scene.light_from(vec3(0.0, 1.25, 0.0), SUN.unit()), 0.0);
        assert_eq!(scene.light_from(vec3(0.0, 30.0, 0.0), SUN.unit()), 1.0);
    }
}
