//! An offer, and what its task asks for. Called by [`super::to_executor`].

use std::sync::Arc;

use super::input::Input;
use super::output::{Output, Written};
use super::{
    BLOBS, ENGINE, GRANT, GRANTS, IMPORT, IMPORTS, LABEL, LABELS, List, NAME, Text, lease,
};
use crate::consent::{BlobRef, Offer};
use crate::policy::Requirements;
use crate::wire::WireError;

pub(super) fn write(offer: &Offer, out: &mut Output) -> Written {
    out.map(5 + u64::from(offer.mesh.is_some()))?;
    lease::write_key(&offer.key, out.key(1)?)?;
    out.key(2)?.uint(offer.nonce)?;
    write_needs(&offer.needs, out.key(3)?)?;
    out.key(4)?.uint(offer.min_memory_mb)?;
    out.key(5)?.uint(offer.lease_ms)?;
    match &offer.mesh {
        Some(mesh) => out.key(6)?.node(mesh),
        None => Ok(()),
    }
}

pub(super) fn read(input: &mut Input<'_>) -> Result<Offer, WireError> {
    input.map("Offer", |fields| {
        Ok(Offer {
            key: fields.get(1, lease::read_key)?,
            nonce: fields.get(2, Input::uint)?,
            needs: Arc::new(fields.get(3, read_needs)?),
            min_memory_mb: fields.get(4, Input::uint)?,
            lease_ms: fields.get(5, Input::uint)?,
            mesh: fields.find(6, Input::node)?,
        })
    })
}

fn write_needs(needs: &Requirements, out: &mut Output) -> Written {
    out.map(18)?;
    out.key(1)?.digest(&needs.digest)?;
    out.key(2)?.text(NAME, &needs.label)?;
    write_texts(LABELS, LABEL, &needs.labels, out.key(3)?)?;
    out.key(4)?.uint(needs.memory_mb)?;
    out.key(5)?.uint(needs.fuel)?;
    out.key(6)?.uint(needs.timeout_ms)?;
    out.key(7)?.uint(needs.estimate_ms)?;
    out.key(8)?.uint(needs.component_bytes)?;
    out.key(9)?.uint(needs.input_bytes)?;
    out.key(10)?.uint(needs.output_bytes)?;
    out.key(11)?.list(BLOBS, needs.blobs.iter(), write_blob)?;
    write_texts(IMPORTS, IMPORT, &needs.imports, out.key(12)?)?;
    write_texts(GRANTS, GRANT, &needs.grants, out.key(13)?)?;
    out.key(14)?
        .optional_text(ENGINE, needs.engine.as_deref())?;
    out.key(15)?.bool(needs.pure)?;
    out.key(16)?.bool(needs.secret)?;
    out.key(17)?.bool(needs.mesh)?;
    out.key(18)?.bool(needs.steal)
}

fn read_needs(input: &mut Input<'_>) -> Result<Requirements, WireError> {
    input.map("what a task needs", |fields| {
        Ok(Requirements {
            digest: fields.get(1, Input::digest)?,
            label: fields.get(2, |input| input.text(NAME))?,
            labels: fields.get(3, |input| read_texts(LABELS, LABEL, input))?,
            memory_mb: fields.get(4, Input::uint)?,
            fuel: fields.get(5, Input::uint)?,
            timeout_ms: fields.get(6, Input::uint)?,
            estimate_ms: fields.get(7, Input::uint)?,
            component_bytes: fields.get(8, Input::uint)?,
            input_bytes: fields.get(9, Input::uint)?,
            output_bytes: fields.get(10, Input::uint)?,
            blobs: fields.get(11, |input| input.list(BLOBS, read_blob))?,
            imports: fields.get(12, |input| read_texts(IMPORTS, IMPORT, input))?,
            grants: fields.get(13, |input| read_texts(GRANTS, GRANT, input))?,
            engine: fields.get(14, |input| input.optional_text(ENGINE))?,
            pure: fields.get(15, Input::bool)?,
            secret: fields.get(16, Input::bool)?,
            mesh: fields.get(17, Input::bool)?,
            steal: fields.get(18, Input::bool)?,
        })
    })
}

fn write_texts(list: List, text: Text, texts: &[Arc<str>], out: &mut Output) -> Written {
    out.list(list, texts.iter(), |out, item| out.text(text, item))
}

fn read_texts(list: List, text: Text, input: &mut Input<'_>) -> Result<Vec<Arc<str>>, WireError> {
    input.list(list, |input| input.text(text))
}

fn write_blob(out: &mut Output, blob: &BlobRef) -> Written {
    out.array(2)?;
    out.digest(&blob.digest)?;
    out.uint(blob.bytes)
}

fn read_blob(input: &mut Input<'_>) -> Result<BlobRef, WireError> {
    input.array_of(2, "a blob: digest and bytes")?;
    Ok(BlobRef {
        digest: input.digest()?,
        bytes: input.uint()?,
    })
}
