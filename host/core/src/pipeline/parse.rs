//! From a document to a pipeline.

use super::document;
use super::{Format, Pipeline};
use crate::diagnostic::Diagnostic;

pub(super) fn pipeline(text: &str, format: Format) -> Result<Pipeline, Vec<Diagnostic>> {
    let root = document::read(text, format).map_err(|one| vec![one])?;
    Err(vec![root.at.diagnostic(
        "pipeline::missing-schema",
        format!("found {}", root.value.describe()),
    )])
}
