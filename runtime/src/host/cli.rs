//! `wasi:cli`: arguments, environment, exit and the standard streams of a run. There is never a terminal.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::cli::terminal_input::TerminalInput;
use wasmtime_wasi::p2::bindings::cli::terminal_output::TerminalOutput;
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use super::stdio::Output;
use crate::state::{End, GuestState};

type Store<'a> = StoreContextMut<'a, GuestState>;

/// Links `wasi:cli`.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut environment = linker.instance(&super::wasi("cli/environment"))?;
    environment.func_wrap("get-environment", |store: Store<'_>, (): ()| {
        Ok((store.data().env.clone(),))
    })?;
    environment.func_wrap("get-arguments", |store: Store<'_>, (): ()| {
        Ok((store.data().args.clone(),))
    })?;
    environment.func_wrap("initial-cwd", |_: Store<'_>, (): ()| Ok((None::<String>,)))?;

    let mut exit = linker.instance(&super::wasi("cli/exit"))?;
    exit.func_wrap(
        "exit",
        |_: Store<'_>, (status,): (Result<(), ()>,)| -> wasmtime::Result<()> {
            Err(End::Exit(i32::from(status.is_err())).into())
        },
    )?;
    exit.func_wrap(
        "exit-with-code",
        |_: Store<'_>, (code,): (u8,)| -> wasmtime::Result<()> {
            Err(End::Exit(i32::from(code)).into())
        },
    )?;

    streams(linker)?;
    terminals(linker)
}

fn streams(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.instance(&super::wasi("cli/stdin"))?.func_wrap(
        "get-stdin",
        |mut store: Store<'_>, (): ()| {
            let state = store.data_mut();
            let stream: DynInputStream = Box::new(state.stdio.input());
            Ok((state.table.push(stream)?,))
        },
    )?;
    let output = |mut store: Store<'_>, which| -> wasmtime::Result<(Resource<DynOutputStream>,)> {
        let state = store.data_mut();
        let stream: DynOutputStream = Box::new(state.stdio.output(which, &state.observer));
        Ok((state.table.push(stream)?,))
    };
    linker
        .instance(&super::wasi("cli/stdout"))?
        .func_wrap("get-stdout", move |store: Store<'_>, (): ()| {
            output(store, Output::Stdout)
        })?;
    linker
        .instance(&super::wasi("cli/stderr"))?
        .func_wrap("get-stderr", move |store: Store<'_>, (): ()| {
            output(store, Output::Stderr)
        })
}

fn terminals(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    // No handle of these types is ever given out, so there is nothing to drop.
    linker
        .instance(&super::wasi("cli/terminal-input"))?
        .resource(
            "terminal-input",
            ResourceType::host::<TerminalInput>(),
            |_, _| Ok(()),
        )?;
    linker
        .instance(&super::wasi("cli/terminal-output"))?
        .resource(
            "terminal-output",
            ResourceType::host::<TerminalOutput>(),
            |_, _| Ok(()),
        )?;
    linker
        .instance(&super::wasi("cli/terminal-stdin"))?
        .func_wrap("get-terminal-stdin", |_: Store<'_>, (): ()| {
            Ok((None::<Resource<TerminalInput>>,))
        })?;
    linker
        .instance(&super::wasi("cli/terminal-stdout"))?
        .func_wrap("get-terminal-stdout", |_: Store<'_>, (): ()| {
            Ok((None::<Resource<TerminalOutput>>,))
        })?;
    linker
        .instance(&super::wasi("cli/terminal-stderr"))?
        .func_wrap("get-terminal-stderr", |_: Store<'_>, (): ()| {
            Ok((None::<Resource<TerminalOutput>>,))
        })
}
