//! Three numbers: a point, a direction, or a colour.

use std::ops::{Add, Mul, Neg, Sub};

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vec3 {
    pub x: f32,
    pub y: f32,
    pub z: f32,
}

pub const fn vec3(x: f32, y: f32, z: f32) -> Vec3 {
    Vec3 { x, y, z }
}

/// The smaller one. `f32::min` would be a call in WebAssembly, for the sake of NaN, which no scene has.
pub fn least(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// The larger one.
pub fn most(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

impl Vec3 {
    pub fn dot(self, other: Vec3) -> f32 {
        self.x * other.x + self.y * other.y + self.z * other.z
    }

    pub fn cross(self, other: Vec3) -> Vec3 {
        vec3(
            self.y * other.z - self.z * other.y,
            self.z * other.x - self.x * other.z,
            self.x * other.y - self.y * other.x,
        )
    }

    pub fn unit(self) -> Vec3 {
        self * (1.0 / self.dot(self).sqrt())
    }

    /// Thrown back by a surface of this normal.
    pub fn reflect(self, normal: Vec3) -> Vec3 {
        self - normal * (2.0 * self.dot(normal))
    }

    pub fn min(self, other: Vec3) -> Vec3 {
        vec3(
            least(self.x, other.x),
            least(self.y, other.y),
            least(self.z, other.z),
        )
    }

    pub fn max(self, other: Vec3) -> Vec3 {
        vec3(
            most(self.x, other.x),
            most(self.y, other.y),
            most(self.z, other.z),
        )
    }

    pub fn largest(self) -> f32 {
        most(self.x, most(self.y, self.z))
    }

    /// From `self` to `other` by a part of the way.
    pub fn mix(self, other: Vec3, part: f32) -> Vec3 {
        self * (1.0 - part) + other * part
    }

    pub fn map(self, f: impl Fn(f32) -> f32) -> Vec3 {
        vec3(f(self.x), f(self.y), f(self.z))
    }
}

impl Add for Vec3 {
    type Output = Vec3;
    fn add(self, other: Vec3) -> Vec3 {
        vec3(self.x + other.x, self.y + other.y, self.z + other.z)
    }
}

impl Sub for Vec3 {
    type Output = Vec3;
    fn sub(self, other: Vec3) -> Vec3 {
        vec3(self.x - other.x, self.y - other.y, self.z - other.z)
    }
}

impl Neg for Vec3 {
    type Output = Vec3;
    fn neg(self) -> Vec3 {
        vec3(-self.x, -self.y, -self.z)
    }
}

impl Mul<f32> for Vec3 {
    type Output = Vec3;
    fn mul(self, by: f32) -> Vec3 {
        vec3(self.x * by, self.y * by, self.z * by)
    }
}

/// Part by part: a colour through a filter.
impl Mul for Vec3 {
    type Output = Vec3;
    fn mul(self, other: Vec3) -> Vec3 {
        vec3(self.x * other.x, self.y * other.y, self.z * other.z)
    }
}
