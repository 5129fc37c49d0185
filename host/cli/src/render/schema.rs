//! The published schemas under `docs/schema/` are what the types in `json.rs` and `past.rs` say: this test fails when they differ, and
//! writes them when `SYKLI_BLESS` is set. Tests only.

use std::path::Path;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::{json, past, receipts};
use sykli_node::control::api;

fn check<T: JsonSchema>(name: &str, wrong: &mut Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    let path = folder.join(format!("{name}.schema.json"));
    // Of what is written, not of what could be read: a field that is always there is required.
    let schema = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return;
    }
    if std::env::var_os("SYKLI_BLESS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, text).unwrap();
    } else {
        wrong.push(name.to_owned());
    }
}

/// What is said over the control socket.
fn control(wrong: &mut Vec<String>) {
    check::<api::NodeStatus>("node-status", wrong);
    check::<api::PeersDoc>("peers", wrong);
    check::<api::RunsDoc>("runs", wrong);
    check::<api::AsksDoc>("asks", wrong);
    check::<api::TaskView>("task-live", wrong);
    check::<api::LogLine>("control-log-line", wrong);
    check::<api::Skipped>("control-skipped", wrong);
    check::<api::Pong>("pong", wrong);
    check::<api::ErrorBody>("control-error", wrong);
    check::<api::Submit>("control-submit", wrong);
    check::<api::Pause>("control-pause", wrong);
    check::<api::Stop>("control-stop", wrong);
    check::<api::Decision>("control-decision", wrong);
    check::<api::PeerWish>("control-peer-wish", wrong);
}

#[test]
fn the_published_schemas_are_those_of_the_types() {
    let mut wrong = Vec::new();
    check::<json::RunDoc>("run", &mut wrong);
    check::<json::EventDoc>("event", &mut wrong);
    check::<json::PlanDoc>("plan", &mut wrong);
    check::<json::ValidateDoc>("validate", &mut wrong);
    check::<json::WhyDoc>("cache-why", &mut wrong);
    check::<json::CacheDoc>("cache-stats", &mut wrong);
    check::<json::BuildDoc>("build", &mut wrong);
    check::<json::BundleDoc>("bundle", &mut wrong);
    check::<json::ExecDoc>("exec", &mut wrong);
    check::<json::CreatedDoc>("created", &mut wrong);
    check::<json::ConfigDoc>("config", &mut wrong);
    check::<json::DoctorDoc>("doctor", &mut wrong);
    check::<json::ErrorDoc>("error", &mut wrong);
    check::<json::DetachedDoc>("detached", &mut wrong);
    control(&mut wrong);
    check::<json::mesh::IdDoc>("id", &mut wrong);
    check::<json::mesh::MeshDoc>("mesh", &mut wrong);
    check::<json::mesh::InviteDoc>("invite", &mut wrong);
    check::<json::mesh::PeerListsDoc>("peer-lists", &mut wrong);
    check::<past::HistoryDoc>("history", &mut wrong);
    check::<past::ReportDoc>("report", &mut wrong);
    check::<receipts::ReceiptsDoc>("receipts", &mut wrong);
    check::<receipts::ReceiptDoc>("receipt", &mut wrong);
    check::<receipts::ReplayDoc>("replay", &mut wrong);
    check::<past::StatusDoc>("status", &mut wrong);
    check::<past::TaskDoc>("task", &mut wrong);
    check::<past::LogsDoc>("logs", &mut wrong);
    check::<past::ExplainDoc>("explain", &mut wrong);
    assert!(
        wrong.is_empty(),
        "SYKLI_BLESS=1 cargo test -p sykli schemas writes: {wrong:?}"
    );
}
