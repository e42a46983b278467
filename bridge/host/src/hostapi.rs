// SPDX-License-Identifier: Apache-2.0
//! `glovebox:host`: metrics, log and context of a guest. Texts go to C as views of guest memory;
//! what is a good name or too much of a log is C's to judge.

use std::borrow::Cow;

use wasmtime::component::{ComponentType, Lift, Linker, WasmList, WasmStr};
use wasmtime::{AsContext, Result, StoreContextMut};

use crate::ffi::{
    CONTEXT_CALL_ID, CONTEXT_TENANT, CONTEXT_TRACEPARENT, Field, LOG_FIELDS_MAX, Span,
};
use crate::limits::{Ctx, HostRef};
use crate::nn::enter;

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code)] // made by lifting only
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

pub fn link(linker: &mut Linker<Ctx>) -> Result<()> {
    let mut metrics = linker.instance("glovebox:host/metrics@0.1.0")?;
    metrics.func_wrap("counter", |store: StoreContextMut<Ctx>, (name, value): (WasmStr, u64)| {
        let name = name.to_str(store.as_context())?;
        enter!(&store.data().c, metrics_counter(Span::new(name.as_bytes()), value))
    })?;
    metrics.func_wrap("gauge", |store: StoreContextMut<Ctx>, (name, value): (WasmStr, f64)| {
        let name = name.to_str(store.as_context())?;
        enter!(&store.data().c, metrics_gauge(Span::new(name.as_bytes()), value))
    })?;
    linker.instance("glovebox:host/log@0.1.0")?.func_wrap("log", log)?;
    let mut context = linker.instance("glovebox:host/context@0.1.0")?;
    context.func_wrap("call-id", |store: StoreContextMut<Ctx>, (): ()| {
        Ok((text(&store.data().c, CONTEXT_CALL_ID)?.unwrap_or_default(),))
    })?;
    context.func_wrap("tenant", |store: StoreContextMut<Ctx>, (): ()| {
        Ok((text(&store.data().c, CONTEXT_TENANT)?.unwrap_or_default(),))
    })?;
    context.func_wrap("traceparent", |store: StoreContextMut<Ctx>, (): ()| {
        Ok((text(&store.data().c, CONTEXT_TRACEPARENT)?,))
    })?;
    context.func_wrap("remaining-time-us", |store: StoreContextMut<Ctx>, (): ()| {
        let left = enter!(&store.data().c, context_time_us())?;
        Ok((if left == u64::MAX { None } else { Some(left) },))
    })?;
    context.func_wrap("remaining-fuel", |store: StoreContextMut<Ctx>, (): ()| {
        Ok((store.get_fuel().ok(),)) // an error without fuel
    })
}

fn log(
    mut store: StoreContextMut<Ctx>,
    (level, message, fields): (Level, WasmStr, WasmList<(WasmStr, WasmStr)>),
) -> Result<()> {
    let fields = fields.iter(&mut store)?.take(LOG_FIELDS_MAX).collect::<Result<Vec<_>>>()?;
    let message = message.to_str(store.as_context())?;
    let texts = fields
        .iter()
        .map(|(key, value)| {
            let key = key.to_str(store.as_context())?;
            Ok((key, value.to_str(store.as_context())?))
        })
        .collect::<Result<Vec<(Cow<str>, Cow<str>)>>>()?;
    let fields: Vec<Field> = texts
        .iter()
        .map(|(key, value)| Field {
            key: Span::new(key.as_bytes()),
            value: Span::new(value.as_bytes()),
        })
        .collect();
    let message = Span::new(message.as_bytes());
    enter!(&store.data().c, log(level as u32, message, fields.as_ptr(), fields.len()))
}

fn text(c: &HostRef, which: u32) -> Result<Option<String>> {
    let mut text = Span::new(&[]);
    let known = enter!(c, context_text(which, &mut text))?;
    // Safety: C keeps the span valid until the next function of its table is entered.
    let text = known.then(|| String::from_utf8_lossy(unsafe { text.bytes() }).into_owned());
    Ok(text)
}
