//! Which imports are provided, and what to say about those that are not.
//!
//! A guest that needs what is not there is refused by name before anything of it runs, with a hint where the reason is
//! known. This decides by names alone; types are the linker's.

use crate::host::{WASI_INTERFACES, task};
use crate::load::{Inspected, LoadError};

/// Imports named in one refusal; the rest is counted.
const MAX_NAMED: usize = 12;

/// Checks what a component imports.
///
/// # Errors
/// [`LoadError::UnknownImport`] with every import that is not provided.
pub(crate) fn check_component(imports: &[String]) -> Result<(), LoadError> {
    let unknown: Vec<String> = imports
        .iter()
        .filter(|name| !is_provided(name))
        .cloned()
        .collect();
    refuse(unknown, component_hint)
}

/// Checks what a core module imports and that it can be run.
///
/// # Errors
/// [`LoadError::UnknownImport`] with every import that is not of WASI preview 1, [`LoadError::NotACommand`].
pub(crate) fn check_module(module: &Inspected) -> Result<(), LoadError> {
    let mut unknown: Vec<String> = module
        .core_imports
        .iter()
        .filter(|(module, _)| module != "wasi_snapshot_preview1")
        .map(|(module, name)| format!("{module}.{name}"))
        .collect();
    unknown.dedup();
    refuse(unknown, module_hint)?;
    if module.start {
        Ok(())
    } else {
        Err(LoadError::NotACommand { core: true })
    }
}

fn refuse(mut unknown: Vec<String>, hint: fn(&str) -> Option<String>) -> Result<(), LoadError> {
    if unknown.is_empty() {
        return Ok(());
    }
    let hint = unknown.iter().find_map(|name| hint(name));
    if unknown.len() > MAX_NAMED {
        let more = unknown.len() - MAX_NAMED;
        unknown.truncate(MAX_NAMED);
        unknown.push(format!("and {more} more"));
    }
    Err(LoadError::UnknownImport {
        names: unknown,
        hint,
    })
}

/// Interface and version of `ns:package/interface@version`.
fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Whether `version` is a release of 0.2; a pre-release has a hyphen and is compatible with nothing.
fn is_wasi_0_2(version: &str) -> bool {
    version
        .strip_prefix("0.2.")
        .is_some_and(|patch| patch.parse::<u32>().is_ok())
}

/// Everything that a host of this build provides, one name an interface: `wasi:cli/environment@0.2` for any release of
/// WASI 0.2, whose releases are compatible, and the exact version of interfaces of ours. Sorted.
#[must_use]
pub fn provided_imports() -> Vec<String> {
    let wasi = WASI_INTERFACES
        .iter()
        .map(|interface| format!("{interface}@0.2"));
    let ours = format!("{}@{}", task::INTERFACE, task::VERSION);
    let mut names: Vec<String> = wasi.chain([ours]).collect();
    names.sort();
    names
}

/// Imports as [`provided_imports`] names them, sorted, each once. What is not provided keeps the name that it has.
pub(crate) fn normalised(imports: &[String]) -> Vec<String> {
    let one = |name: &String| {
        let (interface, version) = split(name);
        match is_wasi_0_2(version) && WASI_INTERFACES.contains(&interface) {
            true => format!("{interface}@0.2"),
            false => name.clone(),
        }
    };
    let mut names: Vec<String> = imports.iter().map(one).collect();
    names.sort();
    names.dedup();
    names
}

fn is_provided(name: &str) -> bool {
    let (interface, version) = split(name);
    if interface == task::INTERFACE {
        return version == task::VERSION;
    }
    WASI_INTERFACES.contains(&interface) && is_wasi_0_2(version)
}

fn component_hint(name: &str) -> Option<String> {
    let (interface, version) = split(name);
    let package = interface.split('/').next().unwrap_or(interface);
    let hint = match package {
        "sykli:task" => {
            let provided = task::VERSION;
            return Some(if interface == task::INTERFACE {
                format!(
                    "it was built against sykli:task {version}, this sykli provides {provided}: build it with the matching sykli-guest"
                )
            } else {
                format!(
                    "sykli:task has no such interface: this sykli provides {}@{provided}",
                    task::INTERFACE
                )
            });
        }
        _ if package.starts_with("wasi:") && version.starts_with("0.3") => {
            "it was built for WASI 0.3: build it for WASI 0.2 (wasm32-wasip2)"
        }
        _ if package.starts_with("wasi:") && version.contains('-') => {
            "it was built for a pre-release of WASI: build it with a current toolchain for WASI 0.2 (wasm32-wasip2)"
        }
        "wasi:http" => {
            "HTTP is not provided: speak it over a socket (most clients do) and grant the host with `net`, or fetch in a step before"
        }
        "wasi:nn" => {
            "neural networks are not provided: build the inference into the component, the model is an input file"
        }
        "wasi:keyvalue" | "wasi:blobstore" => {
            "stores are not provided: read input files and write output files instead"
        }
        "wasi:config" => {
            "configuration is not provided: use `args`, `params` or a granted environment variable"
        }
        "wasi:logging" => {
            "wasi:logging is not provided: write to standard error, or log with sykli-guest"
        }
        "wasi:tls" => "TLS is not provided by the host: build it into the component (rustls works)",
        "wasi:messaging" => "messaging is not provided: a task reads inputs and writes outputs",
        "wasi:threads" => "threads are not provided: split the work with `foreach` or `shards`",
        "wasi:webgpu" | "wasi:graphics-context" | "wasi:surface" | "wasi:frame-buffer" => {
            "graphics are not provided: render to an output file"
        }
        _ if WASI_INTERFACES.contains(&interface) => {
            "it was built for another version of WASI: build it for WASI 0.2 (wasm32-wasip2)"
        }
        _ if package.starts_with("wasi:") => {
            "this interface is not part of `wasi:cli`: a task has files, streams, clocks, random numbers and sockets"
        }
        _ => "compose it with the component that provides this (`wac plug`), or build it without",
    };
    Some(hint.to_owned())
}

fn module_hint(name: &str) -> Option<String> {
    let module = name.split('.').next().unwrap_or(name);
    let hint = match module {
        "env"
            if name.contains("emscripten")
                || name.contains("invoke_")
                || name.contains("_embind") =>
        {
            "it was built by Emscripten for a browser: build it with `-sSTANDALONE_WASM`, or with wasi-sdk for WASI"
        }
        "env" => {
            "a function or memory was left undefined when it was linked: link the library that has it, and build for WASI (Emscripten: `-sSTANDALONE_WASM`)"
        }
        "a" => {
            "it was built by Emscripten for a browser: build it with `-sSTANDALONE_WASM`, or with wasi-sdk for WASI"
        }
        "wbg" | "__wbindgen_placeholder__" | "__wbindgen_externref_xform__" => {
            "it was built by wasm-bindgen for JavaScript: build it for wasm32-wasip2 without wasm-bindgen"
        }
        _ if name.starts_with("./") && name.contains("_bg") => {
            "it was built by wasm-bindgen for JavaScript: build it for wasm32-wasip2 without wasm-bindgen"
        }
        "wasi_unstable" => "it was built for WASI preview 0: build it with a current toolchain",
        "wasi" => "WASI threads are not provided: build for wasm32-wasip2 without threads",
        "go" | "gojs" => {
            "it was built by Go for JavaScript: build it with `GOOS=wasip1 GOARCH=wasm`"
        }
        _ if module.starts_with("wasix") => {
            "it was built for WASIX: build it for WASI (wasm32-wasip2)"
        }
        _ if module.starts_with("wasi_ephemeral") => {
            "it uses a WASI proposal that is not provided: build it without"
        }
        _ if module.contains(':') => {
            "it is the core module of a component: turn it into one with `wasm-tools component new`, or build for wasm32-wasip2"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(name: &str) -> String {
        let LoadError::UnknownImport { names, hint } =
            check_component(&[name.to_owned()]).unwrap_err()
        else {
            panic!("{name}")
        };
        assert_eq!(names, [name]);
        hint.unwrap()
    }

    #[test]
    fn any_release_of_wasi_0_2_is_provided() {
        for version in ["0.2.0", "0.2.3", "0.2.12", "0.2.99"] {
            assert!(
                check_component(&[format!("wasi:cli/environment@{version}")]).is_ok(),
                "{version}"
            );
        }
        assert!(check_component(&["sykli:task/host@0.1.0".to_owned()]).is_ok());
    }

    #[test]
    fn what_is_provided_is_named_once_whatever_release_it_was_built_for() {
        let provided = provided_imports();
        assert!(provided.is_sorted());
        let built: Vec<String> = ["0.2.6", "0.2.0"]
            .iter()
            .flat_map(|version| {
                WASI_INTERFACES
                    .iter()
                    .map(move |name| format!("{name}@{version}"))
            })
            .chain(["sykli:task/host@0.1.0".to_owned()])
            .collect();
        assert_eq!(normalised(&built), provided);
        let other = ["wasi:http/types@0.2.0", "wasi:cli/exit@0.3.0", "acme:x/y"];
        let other: Vec<String> = other.map(str::to_owned).to_vec();
        for name in normalised(&other) {
            assert!(other.contains(&name) && !provided.contains(&name), "{name}");
        }
    }

    #[test]
    fn what_is_not_provided_is_named_with_a_hint_that_fits() {
        assert!(refused("wasi:http/outgoing-handler@0.2.0").contains("HTTP"));
        assert!(refused("wasi:nn/inference@0.2.0").contains("neural"));
        assert!(refused("wasi:keyvalue/store@0.2.0").contains("files"));
        assert!(refused("wasi:cli/environment@0.3.0").contains("0.3"));
        assert!(refused("wasi:cli/environment@0.2.0-rc-2023-12-05").contains("pre-release"));
        assert!(refused("sykli:task/host@0.2.0").contains("0.2.0, this sykli provides 0.1.0"));
        assert!(refused("sykli:task/other@0.1.0").contains("no such interface"));
        assert!(refused("acme:db/query@1.0.0").contains("compose"));
    }

    #[test]
    fn core_modules_of_other_worlds_get_their_hint() {
        for (name, expected) in [
            ("env.emscripten_memcpy_js", "Emscripten"),
            ("env.foo", "undefined"),
            ("wbg.__wbindgen_throw", "wasm-bindgen"),
            ("./app_bg.js.x", "wasm-bindgen"),
            ("gojs.runtime.wasmExit", "GOOS=wasip1"),
            ("wasix_32v1.thread_spawn", "WASIX"),
        ] {
            assert!(module_hint(name).unwrap().contains(expected), "{name}");
        }
    }

    #[test]
    fn a_long_list_is_cut() {
        let imports: Vec<String> = (0..100).map(|n| format!("acme:x/i{n}@1.0.0")).collect();
        let LoadError::UnknownImport { names, .. } = check_component(&imports).unwrap_err() else {
            panic!()
        };
        assert_eq!(names.len(), MAX_NAMED + 1);
        assert_eq!(names[MAX_NAMED], "and 88 more");
    }
}
