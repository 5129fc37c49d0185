//! Reads a WebAssembly binary once, section by section: what it imports and exports, and what it would cost to compile.
//!
//! A count that is too high ends the reading. Only what is affordable by these counts is then validated.

use wasmparser::{
    BinaryReaderError, Chunk, ComponentExternalKind, Encoding, ExternalKind, Parser, Payload,
    Validator, WasmFeatures,
};

use super::cost::{Declared, Spent};
use super::{Budget, LoadError};

/// Bytes of a component.
const BYTES: u64 = 256 << 20;
/// Types of all its components.
const TYPES: u64 = 100_000;
/// Items of the component model and of its modules' tables of contents: instances, aliases, imports, exports, globals.
const ITEMS: u64 = 200_000;
/// Modules and components inside it.
const MODULES: u64 = 1_000;
/// Components within components.
const DEPTH: u64 = 32;

/// Whether the bytes are a component or a core module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Component,
    Module,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) shape: Shape,
    /// Of a component: what it imports, by name. Of a module: nothing.
    pub(crate) imports: Vec<String>,
    /// Of a module: module and name of each import. Of a component: nothing.
    pub(crate) core_imports: Vec<(String, String)>,
    /// The name under which a component exports `wasi:cli/run`.
    pub(crate) run: Option<String>,
    /// Whether a module exports a function `_start`.
    pub(crate) start: bool,
}

/// What is spent while reading.
#[derive(Default)]
struct Counts {
    types: Budget,
    items: Budget,
    modules: Budget,
    code: Spent,
}

pub(super) fn malformed(error: &BinaryReaderError) -> LoadError {
    LoadError::Malformed {
        offset: error.offset() as u64,
        message: super::one_line(error.message()),
    }
}

/// Reads all of `bytes`.
///
/// # Errors
/// When they are not WebAssembly, end early, break the format or hold too much.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspected, LoadError> {
    Budget::at_most(bytes.len() as u64, BYTES, "bytes")?;
    let shape = shape(bytes)?;
    let mut inspected = Inspected {
        shape,
        imports: Vec::new(),
        core_imports: Vec::new(),
        run: None,
        start: false,
    };
    let mut counts = Counts::default();
    let mut parser = Parser::new(0);
    let mut declared = Declared::default();
    let mut outer = Vec::new();
    let mut rest = bytes;
    loop {
        let parsed =
            parser
                .parse(rest, rest.is_empty())
                .map_err(|error| match rest.is_empty() {
                    true => LoadError::Truncated {
                        offset: bytes.len() as u64,
                    },
                    false => malformed(&error),
                })?;
        let Chunk::Parsed { consumed, payload } = parsed else {
            return Err(LoadError::Truncated {
                offset: bytes.len() as u64,
            });
        };
        rest = rest.get(consumed..).unwrap_or_default();
        match payload {
            Payload::ModuleSection { parser: inner, .. }
            | Payload::ComponentSection { parser: inner, .. } => {
                counts.modules.add(1, MODULES, "modules")?;
                Budget::at_most(
                    outer.len() as u64 + 1,
                    DEPTH,
                    "components within components",
                )?;
                outer.push((
                    std::mem::replace(&mut parser, inner),
                    std::mem::take(&mut declared),
                ));
            }
            Payload::End(_) => match outer.pop() {
                Some(parent) => (parser, declared) = parent,
                None => return Ok(inspected),
            },
            payload => {
                counts.count(&payload)?;
                declared.note(&payload, &mut counts.code)?;
                if outer.is_empty() {
                    inspected.note(payload).map_err(|error| malformed(&error))?;
                }
            }
        }
    }
}

/// Validates all of `bytes`, features that the engine has switched off included: those it refuses by their name.
///
/// # Errors
/// With the first place that is not valid.
pub(crate) fn validate(bytes: &[u8]) -> Result<(), LoadError> {
    // The engine has no switch for these; whatever else is off there, it refuses by itself.
    let never = WasmFeatures::FUNCTION_REFERENCES.union(WasmFeatures::GC);
    let mut validator = Validator::new_with_features(WasmFeatures::all().difference(never));
    validator
        .validate_all(bytes)
        .map(|_| ())
        .map_err(|error| malformed(&error))
}

/// What the first bytes say; a text or another binary is named.
fn shape(bytes: &[u8]) -> Result<Shape, LoadError> {
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    let found = match bytes {
        [] => "an empty file",
        _ if Parser::is_component(bytes) => return Ok(Shape::Component),
        _ if bytes.starts_with(MODULE) => return Ok(Shape::Module),
        _ if MODULE.starts_with(bytes) => {
            return Err(LoadError::Truncated {
                offset: bytes.len() as u64,
            });
        }
        _ if bytes.starts_with(b"\0asm") => {
            let message = "a version of WebAssembly that is not known".to_owned();
            return Err(LoadError::Malformed { offset: 4, message });
        }
        _ if bytes.starts_with(b"\x7fELF") => "a native program (ELF)",
        _ if bytes.starts_with(b"#!") => "a script",
        _ if bytes.trim_ascii_start().starts_with(b"(module")
            || bytes.trim_ascii_start().starts_with(b"(component") =>
        {
            "WebAssembly text (convert it with `wasm-tools parse`)"
        }
        _ if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x1f\x8b") => "an archive",
        _ if std::str::from_utf8(bytes.get(..256).unwrap_or(bytes)).is_ok() => "a text file",
        _ => "some other binary",
    };
    Err(LoadError::NotWasm { found })
}

impl Counts {
    fn count(&mut self, payload: &Payload<'_>) -> Result<(), LoadError> {
        use Payload as P;
        let types = match payload {
            P::CoreTypeSection(section) => section.count(),
            P::ComponentTypeSection(section) => section.count(),
            _ => 0,
        };
        let items = match payload {
            P::InstanceSection(section) => section.count(),
            P::ComponentInstanceSection(section) => section.count(),
            P::ComponentAliasSection(section) => section.count(),
            P::ComponentCanonicalSection(section) => section.count(),
            P::ComponentImportSection(section) => section.count(),
            P::ComponentExportSection(section) => section.count(),
            P::ExportSection(section) => section.count(),
            P::ImportSection(section) => section.count(),
            P::GlobalSection(section) => section.count(),
            _ => 0,
        };
        self.types.add(types.into(), TYPES, "component types")?;
        self.items
            .add(items.into(), ITEMS, "imports, exports and other items")
    }
}

impl Inspected {
    /// Takes note of what a section of the outermost module or component imports and exports.
    fn note(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::Version { encoding, .. } => debug_assert_eq!(
                self.shape,
                if encoding == Encoding::Component {
                    Shape::Component
                } else {
                    Shape::Module
                }
            ),
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    self.core_imports
                        .push((import.module.to_owned(), import.name.to_owned()));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    self.start |= export.name == "_start" && export.kind == ExternalKind::Func;
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    self.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    let is_run = export.name.name.starts_with("wasi:cli/run@0.2.");
                    if is_run && export.kind == ComponentExternalKind::Instance {
                        self.run = Some(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_not_wasm_is_named() {
        for (bytes, expected) in [
            (&b""[..], "empty"),
            (b"\x7fELF\x02\x01", "native"),
            (b"#!/bin/sh\n", "script"),
            (b"  (component)", "text"),
            (b"hello", "text"),
            (b"\xff\xfe\0\x01", "binary"),
        ] {
            let LoadError::NotWasm { found } = inspect(bytes).unwrap_err() else {
                panic!("{bytes:?}")
            };
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn a_cut_component_is_truncated_wherever_it_is_cut_inside_a_section() {
        let module = wat::parse_str("(module (func (export \"_start\")))").unwrap();
        assert!(inspect(&module).unwrap().start);
        let mut truncated = 0;
        for len in 1..module.len() {
            match inspect(&module[..len]) {
                Err(LoadError::Truncated { .. }) => truncated += 1,
                // Between two sections a shorter module is a module.
                Ok(_) | Err(LoadError::Malformed { .. }) => {}
                Err(other) => panic!("{len}: {other}"),
            }
        }
        assert!(truncated > 10);
    }
}
