//! Makes a component of a core module of WASI preview 1, with the adapter that wasmtime ships.
//!
//! One thing the adapter loses is brought back: it tells its host of an exit only whether it failed. So the module's
//! `proc_exit` is led past it, to `exit-with-code` of `wasi:cli/exit`, which takes the same one number.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding};

use super::{LoadError, one_line};

/// Where the adapter's own world has the interface.
const EXIT_INTERFACE: &str = "wasi:cli/exit@0.2.12";
const EXIT_WITH_CODE: &str = "exit-with-code";

/// The component of a module that imports nothing but WASI preview 1.
///
/// # Errors
/// When the adapter does not fit it (an import of another type, no memory where one is needed).
pub(super) fn adapt(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let with_code = with_exit_code(module).and_then(|module| encode(&module).ok());
    match with_code {
        Some(component) => Ok(component),
        None => encode(module).map_err(LoadError::Adapt),
    }
}

fn encode(module: &[u8]) -> Result<Vec<u8>, String> {
    let encoded = ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
            )
        })
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| one_line(&format!("{error:#}")))
}

/// The module with `proc_exit` imported from where the code is kept; None where it imports none, or describes its
/// imports itself.
fn with_exit_code(module: &[u8]) -> Option<Vec<u8>> {
    let mut changed = redirect_exit(module)?;
    let (_, bindings) =
        wit_component::metadata::decode(WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER).ok()?;
    let mut resolve = bindings.resolve;
    // The module imports from the adapter's world under another name (its own would be merged with the adapter's), and
    // exports nothing of it: that is left to the adapter.
    let world = resolve.worlds.get_mut(bindings.world)?;
    world.exports.clear();
    let package = world.package?;
    let name = &mut resolve.packages.get_mut(package)?.name;
    resolve.package_names.shift_remove(name);
    "main".clone_into(&mut name.name);
    resolve.package_names.insert(name.clone(), package);
    wit_component::embed_component_metadata(
        &mut changed,
        &resolve,
        bindings.world,
        StringEncoding::UTF8,
    )
    .ok()?;
    Some(changed)
}

/// Rewrites the one import, and with it the length of its section.
fn redirect_exit(module: &[u8]) -> Option<Vec<u8>> {
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                return None;
            }
            Payload::ImportSection(section) => {
                let range = section.range();
                let mut from = None;
                for import in section.into_imports_with_offsets() {
                    let (offset, import) = import.ok()?;
                    if import.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME
                        && import.name == "proc_exit"
                    {
                        from = Some(offset);
                    }
                }
                let old = names(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, "proc_exit");
                let at =
                    from.filter(|&at| module.get(at..).is_some_and(|rest| rest.starts_with(&old)))?;
                let content = [
                    module.get(range.start..at)?,
                    &names(EXIT_INTERFACE, EXIT_WITH_CODE),
                    module.get(at + old.len()..range.end)?,
                ]
                .concat();
                // The section begins with its id and its old length, which may be padded: its header ends at `range`.
                let header = section_start(module, range.start)?;
                let section = [&[2][..], &leb128(content.len()), &content].concat();
                return Some([module.get(..header)?, &section, module.get(range.end..)?].concat());
            }
            _ => {}
        }
    }
    None
}

/// Where the import section begins whose content begins at `content`: an id of 2 and at most five bytes of length before.
fn section_start(module: &[u8], content: usize) -> Option<usize> {
    (2..=6).find_map(|back| {
        let start = content.checked_sub(back)?;
        let (id, length) = module.get(start..content)?.split_first()?;
        let (last, others) = length.split_last()?;
        let is_length = others.iter().all(|byte| byte & 0x80 != 0) && last & 0x80 == 0;
        (*id == 2 && is_length).then_some(start)
    })
}

/// Module and name of an import, each with its length before it.
fn names(module: &str, name: &str) -> Vec<u8> {
    [
        &leb128(module.len()),
        module.as_bytes(),
        &leb128(name.len()),
        name.as_bytes(),
    ]
    .concat()
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5);
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_module_that_exits_keeps_its_code_and_stays_valid() {
        let text = r#"(module
            (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const 7))))"#;
        let module = wat::parse_str(text).unwrap();
        let changed = redirect_exit(&module).unwrap();
        wasmparser::validate(&changed).unwrap();
        let imports = super::super::inspect::inspect(&changed)
            .unwrap()
            .core_imports;
        assert_eq!(imports[0].1, "fd_close");
        assert_eq!(
            imports[1],
            (EXIT_INTERFACE.to_owned(), EXIT_WITH_CODE.to_owned())
        );
        assert_eq!(
            encode(&with_exit_code(&module).unwrap()).map(|_| ()),
            Ok(())
        );
    }

    #[test]
    fn a_module_that_does_not_exit_is_left_alone() {
        let module =
            wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#)
                .unwrap();
        assert!(redirect_exit(&module).is_none());
        assert!(adapt(&module).is_ok());
    }

    #[test]
    fn an_import_of_another_type_is_refused() {
        let text = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64)))
            (memory (export "memory") 1) (func (export "_start")))"#;
        assert!(matches!(
            adapt(&wat::parse_str(text).unwrap()),
            Err(LoadError::Adapt(_))
        ));
    }
}
