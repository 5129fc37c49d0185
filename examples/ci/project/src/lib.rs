//! Slugs and shortened headlines from any text.
//!
//! ```
//! assert_eq!(slugline::slug("Crème brûlée, 2nd try!"), "creme-brulee-2nd-try");
//! assert_eq!(slugline::shorten("A headline that is too long", 16), "A headline that…");
//! ```

mod fold;
mod shorten;
mod slug;

pub use fold::fold;
pub use shorten::shorten;
pub use slug::{Slugs, slug};

// The integration tests see the crate as its users do, by its name.
#[cfg(test)]
extern crate self as slugline;

#[cfg(test)]
#[path = "../tests/headlines.rs"]
mod headlines;
