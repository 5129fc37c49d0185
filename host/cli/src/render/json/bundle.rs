//! What a bundle is: the document of `sykli bundle pack`, `inspect` and `verify`. Shapes only; `cmd/bundle.rs` fills it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// What is in a bundle: `sykli.bundle/1`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct BundleDoc {
    /// Which document this is.
    #[schemars(extend("const" = "sykli.bundle/1"))]
    pub(crate) schema: &'static str,
    /// The file.
    pub(crate) file: String,
    /// Its length.
    pub(crate) file_bytes: u64,
    /// What its blobs unpack to.
    pub(crate) content_bytes: u64,
    pub(crate) task: BundleTask,
    /// In the file's order; only `inspect` lists them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blobs: Option<Vec<BundleBlob>>,
    pub(crate) blob_count: u64,
}

/// The task in a bundle.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct BundleTask {
    pub(crate) name: String,
    /// The task digest.
    pub(crate) digest: String,
    /// The component's digest.
    pub(crate) component: String,
    pub(crate) args: Vec<String>,
    /// Names of variables; their values are not shown.
    pub(crate) env: Vec<String>,
    pub(crate) item: Option<String>,
    /// Digests of the input trees by where they appear under `/in`.
    pub(crate) inputs: BTreeMap<String, String>,
    /// Patterns of what is kept.
    pub(crate) outputs: Vec<String>,
    pub(crate) fuel: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) output_bytes: u64,
    pub(crate) pure: bool,
    /// What it asks for beyond pure work.
    pub(crate) grants: Vec<String>,
}

/// One blob of a bundle.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct BundleBlob {
    pub(crate) digest: String,
    /// `manifest`, `tree`, `component`, `stdin` or `file`.
    pub(crate) role: &'static str,
    pub(crate) bytes: u64,
    pub(crate) packed_bytes: u64,
}
