// SPDX-License-Identifier: Apache-2.0
//! Linking: everything that does not depend on the call is resolved and type-checked once.

use std::sync::Arc;

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{self, Component, ComponentExportIndex};
use wasmtime::{ExternType, Module};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::engine::EngineInner;
use crate::fail::{Fail, FailureKind};
use crate::ffi::{
    Custom, ENTRY_AGENT, ENTRY_CALL, ENTRY_COMMAND, ENTRY_HTTP, ENTRY_START, Failure, Host,
    LINK_EGRESS, LINK_HOST, LINK_HTTP, LINK_NN_0625, LINK_NN_0819, LINK_NN_1028, LINK_P1, LINK_SOCKETS, LINK_WASI, LINK_WITX,
    LinkMore, Signature, guard, guard_quiet, slice,
};
use crate::limits::Ctx;
use crate::program::{Code, GbwProgram, func_text};
use crate::types::Types;
use crate::{custom, hostapi, http_types, nn, wasi, witx};

/// A program with its imports resolved, and the way into it.
pub enum Pre {
    Agent { pre: component::InstancePre<Ctx>, run: ComponentExportIndex },
    Command { pre: component::InstancePre<Ctx>, run: ComponentExportIndex },
    Start { pre: wasmtime::InstancePre<Ctx> },
    Call { pre: component::InstancePre<Ctx>, index: ComponentExportIndex, types: Box<Types> },
    Http { pre: ProxyPre<Ctx> },
    /// `initialize`: the module is a reactor, whose "_initialize" runs first.
    Core { pre: wasmtime::InstancePre<Ctx>, name: String, types: Box<Types>, initialize: bool },
}

pub struct LinkedInner {
    pub engine: Arc<EngineInner>,
    /// A copy of C's table, so that its storage need not outlive the link.
    pub host: Arc<Host>,
    pub pre: Pre,
}

pub struct GbwLinked {
    pub inner: Arc<LinkedInner>,
}

/// What the caller named beside the entry.
struct More<'a> {
    interface: &'a str,
    name: &'a str,
    customs: &'a [Custom],
}

/// # Safety
/// `p` is from `gbw_program_new`, `host` readable, `more` NULL or readable with what it points to,
/// `f` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_link_new(
    p: *mut GbwProgram,
    link_flags: u32,
    entry: u32,
    more: *const LinkMore,
    host: *const Host,
    f: *mut Failure,
) -> *mut GbwLinked {
    // Safety: the caller's promise, here and inside.
    unsafe {
        guard(f, std::ptr::null_mut(), || {
            let (Some(p), Some(host)) = (p.as_ref(), host.as_ref()) else {
                return Err(Fail::new(FailureKind::Config, "no program or no host functions"));
            };
            check_host(host, link_flags)?;
            let more = match more.as_ref() {
                Some(more) => More {
                    interface: more.call_interface.text("an interface")?,
                    name: more.call_name.text("a function")?,
                    customs: slice(more.customs, more.customs_len),
                },
                None => More { interface: "", name: "", customs: &[] },
            };
            let pre = match &p.code {
                Code::Component(c) => link_component(&p.engine, c, link_flags, entry, &more)?,
                Code::Module(m) => link_module(&p.engine, m, link_flags, entry, &more)?,
            };
            let inner = LinkedInner { engine: p.engine.clone(), host: Arc::new(*host), pre };
            Ok(Box::into_raw(Box::new(GbwLinked { inner: Arc::new(inner) })))
        })
    }
}

/// # Safety
/// `l` is NULL or from `gbw_link_new`, and not used afterwards. Calls keep what they need alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_link_free(l: *mut GbwLinked) {
    guard_quiet((), || {
        if !l.is_null() {
            // Safety: the caller's promise; `Box::into_raw` made it.
            drop(unsafe { Box::from_raw(l) });
        }
    });
}

/// # Safety
/// `l` is from `gbw_link_new` and not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_linked_signature(l: *const GbwLinked) -> *const Signature {
    // Safety: the caller's promise.
    match unsafe { l.as_ref() }.map(|l| &l.inner.pre) {
        Some(Pre::Call { types, .. } | Pre::Core { types, .. }) => &types.c,
        _ => std::ptr::null(),
    }
}

/// Refuses a table with a hole where a linked interface would step into it.
fn check_host(h: &Host, flags: u32) -> Result<(), Fail> {
    let mut complete = h.tick.is_some()
        && h.memory_growing.is_some()
        && h.memory_grow_failed.is_some()
        && h.table_growing.is_some()
        && h.table_grow_failed.is_some()
        && h.write.is_some();
    if flags & (LINK_NN_1028 | LINK_NN_0819 | LINK_NN_0625) != 0 {
        complete &= h.tensor_new.is_some()
            && h.tensor_drop.is_some()
            && h.tensor_info.is_some()
            && h.tensor_data.is_some()
            && h.graph_load.is_some()
            && h.graph_loaded.is_some()
            && h.graph_load_by_name.is_some()
            && h.graph_drop.is_some()
            && h.context_new.is_some()
            && h.context_drop.is_some()
            && h.compute_start.is_some()
            && h.compute_poll.is_some()
            && h.compute_end.is_some()
            && h.error_info.is_some()
            && h.error_drop.is_some();
    }
    if flags & LINK_NN_1028 != 0 {
        complete &= h.compute_output.is_some();
    }
    if flags & (LINK_NN_0819 | LINK_NN_0625) != 0 {
        complete &= h.context_set_input.is_some() && h.context_get_output.is_some();
    }
    if flags & LINK_NN_0625 != 0 {
        complete &= h.error_new.is_some();
    }
    if flags & LINK_WITX != 0 {
        complete &= h.witx_call.is_some()
            && h.witx_finish.is_some()
            && h.witx_error.is_some()
            && h.compute_poll.is_some()
            && h.compute_end.is_some();
    }
    if flags & LINK_HOST != 0 {
        complete &= h.metrics_counter.is_some()
            && h.metrics_gauge.is_some()
            && h.log.is_some()
            && h.context_text.is_some()
            && h.context_time_us.is_some();
    }
    if flags & LINK_HTTP != 0 {
        complete &= h.http_request_body.is_some()
            && h.http_request_trailers.is_some()
            && h.http_response_head.is_some()
            && h.http_response_body.is_some()
            && h.http_response_end.is_some()
            && h.http_charge.is_some()
            && h.http_uncharge.is_some();
    }
    if flags & LINK_EGRESS != 0 {
        complete &= h.http_egress.is_some();
    }
    if complete {
        Ok(())
    } else {
        Err(Fail::new(FailureKind::Config, "the table of host functions has a hole"))
    }
}

fn link_component(
    engine: &EngineInner,
    component: &Component,
    flags: u32,
    entry: u32,
    more: &More<'_>,
) -> Result<Pre, Fail> {
    let internal = |e: wasmtime::Error| Fail::from_wasmtime(&e, FailureKind::Internal);
    let mut linker = component::Linker::<Ctx>::new(&engine.engine);
    if flags & LINK_WASI != 0 {
        wasi::link(&mut linker, flags & LINK_SOCKETS != 0).map_err(internal)?;
    }
    if flags & LINK_NN_1028 != 0 {
        nn::link(&mut linker, nn::Revision::R1028).map_err(internal)?;
    }
    if flags & LINK_NN_0819 != 0 {
        nn::link(&mut linker, nn::Revision::R0819).map_err(internal)?;
    }
    if flags & LINK_NN_0625 != 0 {
        nn::link(&mut linker, nn::Revision::R0625).map_err(internal)?;
    }
    if flags & LINK_HOST != 0 {
        hostapi::link(&mut linker).map_err(internal)?;
    }
    if flags & LINK_HTTP != 0 {
        http_types::link(&mut linker, flags & LINK_EGRESS != 0).map_err(internal)?;
    }
    // Safety: `gbw_link_new` promises that the spans are readable.
    unsafe { custom::link(&mut linker, &engine.engine, component, more.customs)? };
    let pre = linker
        .instantiate_pre(component)
        .map_err(|e| Fail::from_wasmtime(&e, FailureKind::Link))?;
    match entry {
        ENTRY_AGENT => Ok(Pre::Agent { run: agent_entry(engine, component)?, pre }),
        ENTRY_COMMAND => Ok(Pre::Command { run: command_entry(engine, component)?, pre }),
        ENTRY_CALL => {
            let (index, types) = call_entry(engine, component, more)?;
            Ok(Pre::Call { pre, index, types })
        }
        ENTRY_HTTP => http_entry(pre),
        _ => Err(Fail::new(FailureKind::NoExport, "a component has no \"_start\" to enter")),
    }
}

fn agent_entry(engine: &EngineInner, component: &Component) -> Result<ComponentExportIndex, Fail> {
    const WANTED: &str = "func(argument: string) -> result<string, string>";
    let missing =
        |found: String| Fail::new(FailureKind::NoExport, format!("{found}; needed is {WANTED}"));
    let ty = component.component_type();
    match ty.get_export(&engine.engine, "run").map(|e| e.ty) {
        Some(ComponentItem::ComponentFunc(func)) if is_agent(&func) => component
            .get_export_index(None, "run")
            .ok_or_else(|| missing("the export \"run\" is not accessible".to_owned())),
        Some(ComponentItem::ComponentFunc(func)) => {
            Err(missing(format!("the export \"run\" is {}", func_text(&func))))
        }
        Some(_) => Err(missing("the export \"run\" is not a function".to_owned())),
        None => Err(missing("the component has no export \"run\"".to_owned())),
    }
}

fn is_agent(func: &ComponentFunc) -> bool {
    let string = Some(Type::String);
    !func.async_()
        && func.params().map(|(_, ty)| ty).eq([Type::String])
        && func.results().len() == 1
        && func.results().all(|ty| match ty {
            Type::Result(result) => result.ok() == string && result.err() == string,
            _ => false,
        })
}

fn command_entry(
    engine: &EngineInner,
    component: &Component,
) -> Result<ComponentExportIndex, Fail> {
    let ty = component.component_type();
    for (name, extern_) in ty.exports(&engine.engine) {
        let ComponentItem::ComponentInstance(instance) = &extern_.ty else { continue };
        if !name.starts_with("wasi:cli/run@0.2.") {
            continue;
        }
        let func = instance.get_export(&engine.engine, "run").map(|e| e.ty);
        let fits = matches!(&func, Some(ComponentItem::ComponentFunc(func)) if is_run(func));
        let index = component
            .get_export_index(None, name)
            .and_then(|instance| component.get_export_index(Some(&instance), "run"));
        return match index {
            Some(index) if fits => Ok(index),
            _ => Err(Fail::new(
                FailureKind::NoExport,
                format!("the export \"{name}\" has no function run: func() -> result"),
            )),
        };
    }
    Err(Fail::new(FailureKind::NoExport, "the component has no export \"wasi:cli/run@0.2\""))
}

fn http_entry(pre: component::InstancePre<Ctx>) -> Result<Pre, Fail> {
    ProxyPre::new(pre).map(|pre| Pre::Http { pre }).map_err(|e| {
        let why = Fail::from_wasmtime(&e, FailureKind::NoExport).message;
        let what = "the component has no export \"wasi:http/incoming-handler@0.2\"";
        Fail::new(FailureKind::NoExport, format!("{what}: {why}"))
    })
}

fn is_run(func: &ComponentFunc) -> bool {
    !func.async_()
        && func.params().len() == 0
        && func.results().len() == 1
        && func.results().all(|ty| match ty {
            Type::Result(result) => result.ok().is_none() && result.err().is_none(),
            _ => false,
        })
}

fn call_entry(
    engine: &EngineInner,
    component: &Component,
    more: &More<'_>,
) -> Result<(ComponentExportIndex, Box<Types>), Fail> {
    let More { interface, name, .. } = more;
    let ty = component.component_type();
    let (item, index) = if interface.is_empty() {
        let item = ty.get_export(&engine.engine, name).map(|e| e.ty);
        (item, component.get_export_index(None, name))
    } else {
        let item = match ty.get_export(&engine.engine, interface).map(|e| e.ty) {
            Some(ComponentItem::ComponentInstance(i)) => {
                i.get_export(&engine.engine, name).map(|e| e.ty)
            }
            _ => None,
        };
        let instance = component.get_export_index(None, interface);
        (item, instance.and_then(|i| component.get_export_index(Some(&i), name)))
    };
    let fail = |why: &str| Fail::new(FailureKind::NoExport, format!("the export \"{name}\": {why}"));
    match (item, index) {
        (Some(ComponentItem::ComponentFunc(func)), Some(_)) if func.async_() => {
            Err(fail("it is an async function"))
        }
        (Some(ComponentItem::ComponentFunc(func)), Some(index)) => {
            Ok((index, Types::of_component(&func).map_err(fail)?))
        }
        _ => Err(fail("it is not a function")),
    }
}

/// A core module's function; whether there is an "_initialize".
fn core_entry(module: &Module, name: &str) -> Result<(Box<Types>, bool), Fail> {
    let fail = |why: &str| Fail::new(FailureKind::NoExport, format!("the export \"{name}\": {why}"));
    let types = match module.get_export(name) {
        Some(ExternType::Func(ty)) => Types::of_core(&ty).map_err(fail)?,
        _ => return Err(fail("it is not a function")),
    };
    let initialize = match module.get_export("_initialize") {
        Some(ExternType::Func(ty)) => ty.params().len() == 0 && ty.results().len() == 0,
        _ => false,
    };
    Ok((types, initialize && name != "_initialize"))
}

fn link_module(
    engine: &EngineInner,
    module: &Module,
    flags: u32,
    entry: u32,
    more: &More<'_>,
) -> Result<Pre, Fail> {
    let mut linker = wasmtime::Linker::<Ctx>::new(&engine.engine);
    if flags & LINK_P1 != 0 {
        wasmtime_wasi::p1::add_to_linker_async(&mut linker, |ctx: &mut Ctx| &mut ctx.wasi)
            .map_err(|e| Fail::from_wasmtime(&e, FailureKind::Internal))?;
    }
    if flags & LINK_WITX != 0 {
        witx::link(&mut linker).map_err(|e| Fail::from_wasmtime(&e, FailureKind::Internal))?;
    }
    let pre =
        linker.instantiate_pre(module).map_err(|e| Fail::from_wasmtime(&e, FailureKind::Link))?;
    if entry == ENTRY_CALL {
        let (types, initialize) = core_entry(module, more.name)?;
        return Ok(Pre::Core { pre, name: more.name.to_owned(), types, initialize });
    }
    if entry != ENTRY_START {
        let what = "a core module has neither an agent's \"run\" nor \"wasi:cli/run\"";
        return Err(Fail::new(FailureKind::NoExport, what));
    }
    match module.get_export("_start") {
        Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0 => {
            Ok(Pre::Start { pre })
        }
        Some(_) => Err(Fail::new(
            FailureKind::NoExport,
            "the export \"_start\" is not a function without parameters and results",
        )),
        None => Err(Fail::new(FailureKind::NoExport, "the module has no export \"_start\"")),
    }
}
