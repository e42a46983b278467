// SPDX-License-Identifier: Apache-2.0
//! Compiled programs: components and core modules, and what they import and export.
//!
//! Types are written in WIT or wasm notation for people to read. Component types form a graph that
//! a hostile file can blow up exponentially, so the text of one type is bounded.

use std::borrow::Cow;
use std::ffi::c_void;
use std::fmt::Write as _;
use std::sync::Arc;

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, ResourceType};
use wasmtime::{ExternType, Module};

use crate::engine::{EngineInner, GbwEngine};
use crate::fail::{Fail, FailureKind};
use crate::ffi::{Failure, Item, ItemFn, ItemKind, Span, guard, guard_quiet};

const TYPE_BYTES_MAX: usize = 4096;
const TYPE_DEPTH_MAX: u32 = 24;

pub enum Code {
    Component(Component),
    Module(Module),
}

pub struct GbwProgram {
    pub engine: Arc<EngineInner>,
    pub code: Code,
}

/// # Safety
/// `e` is from `gbw_engine_new`, `bytes` readable, `f` NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_program_new(
    e: *mut GbwEngine,
    bytes: Span,
    f: *mut Failure,
) -> *mut GbwProgram {
    // Safety: the caller's promise, here and inside.
    unsafe {
        guard(f, std::ptr::null_mut(), || {
            let Some(e) = e.as_ref() else {
                return Err(Fail::new(FailureKind::Config, "no engine"));
            };
            let code = compile(&e.inner.engine, bytes.bytes())?;
            Ok(Box::into_raw(Box::new(GbwProgram { engine: e.inner.clone(), code })))
        })
    }
}

/// # Safety
/// `p` is NULL or from `gbw_program_new`, and not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_program_free(p: *mut GbwProgram) {
    guard_quiet((), || {
        if !p.is_null() {
            // Safety: the caller's promise; `Box::into_raw` made it.
            drop(unsafe { Box::from_raw(p) });
        }
    });
}

/// # Safety
/// `p` is from `gbw_program_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_program_is_component(p: *const GbwProgram) -> bool {
    // Safety: the caller's promise.
    unsafe { p.as_ref() }.is_some_and(|p| matches!(p.code, Code::Component(_)))
}

/// A program as wasm, whichever form it came in.
pub struct Binary<'a> {
    pub bytes: Cow<'a, [u8]>,
    pub is_component: bool,
}

impl<'a> Binary<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Binary<'a>, Fail> {
        const MAGIC: &[u8] = b"\0asm";
        let bytes = if bytes.starts_with(MAGIC) {
            Cow::Borrowed(bytes)
        } else {
            Cow::Owned(text_to_binary(bytes)?)
        };
        match bytes.get(4..8) {
            Some([1, 0, 0, 0]) => Ok(Binary { bytes, is_component: false }),
            Some([_, 0, 1, 0]) => Ok(Binary { bytes, is_component: true }),
            Some(version) => Err(Fail::new(
                FailureKind::InvalidModule,
                format!("unknown wasm version {version:02x?} (at offset 0x4)"),
            )),
            None => Err(Fail::new(
                FailureKind::InvalidModule,
                format!("cut off in the header after {} bytes", bytes.len()),
            )),
        }
    }
}

fn compile(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Code, Fail> {
    let binary = Binary::new(bytes)?;
    if binary.is_component {
        Component::from_binary(engine, &binary.bytes)
            .map(Code::Component)
            .map_err(|e| Fail::from_wasmtime(&e, FailureKind::InvalidComponent))
    } else {
        Module::from_binary(engine, &binary.bytes)
            .map(Code::Module)
            .map_err(|e| Fail::from_wasmtime(&e, FailureKind::InvalidModule))
    }
}

fn text_to_binary(bytes: &[u8]) -> Result<Vec<u8>, Fail> {
    let foreign = |why: &str| Fail::new(FailureKind::InvalidModule, why);
    if bytes.is_empty() {
        return Err(foreign("the file is empty"));
    }
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()))
        .ok_or_else(|| foreign("neither wasm nor the text format: the file begins otherwise"))?;
    wat::parse_str(text).map_err(|e| Fail::new(FailureKind::InvalidText, text_message(&e)))
}

/// "LINE:COLUMN: what", from the several lines that `wat` renders (a message, then an arrow with the
/// position, then the source).
fn text_message(error: &wat::Error) -> String {
    let all = error.to_string();
    let what = all.lines().next().unwrap_or("syntax error");
    let place =
        all.lines().find_map(|line| line.trim_start().strip_prefix("--> ")).and_then(|place| {
            let mut parts = place.rsplitn(3, ':');
            let column = parts.next()?.trim().parse::<u32>().ok()?;
            let line = parts.next()?.trim().parse::<u32>().ok()?;
            Some((line, column))
        });
    match place {
        Some((line, column)) => format!("{line}:{column}: {what}"),
        None => what.to_owned(),
    }
}

/// # Safety
/// `p` is from `gbw_program_new`; `each` accepts `user` and borrows the item for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_program_imports(
    p: *const GbwProgram,
    each: Option<ItemFn>,
    user: *mut c_void,
) {
    guard_quiet((), || {
        // Safety: the caller's promise.
        let (Some(p), Some(each)) = (unsafe { p.as_ref() }, each) else { return };
        let mut lister = Lister { each, user, names: Vec::new() };
        let engine = &p.engine.engine;
        match &p.code {
            Code::Component(component) => {
                let ty = component.component_type();
                lister.learn(engine, ty.imports(engine).map(|(n, e)| (n, e.ty)));
                lister.world(engine, ty.imports(engine).map(|(n, e)| (n, e.ty)));
            }
            Code::Module(module) => {
                for import in module.imports() {
                    lister.core(import.module(), import.name(), &import.ty());
                }
            }
        }
    });
}

/// # Safety
/// As `gbw_program_imports`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbw_program_exports(
    p: *const GbwProgram,
    each: Option<ItemFn>,
    user: *mut c_void,
) {
    guard_quiet((), || {
        // Safety: the caller's promise.
        let (Some(p), Some(each)) = (unsafe { p.as_ref() }, each) else { return };
        let mut lister = Lister { each, user, names: Vec::new() };
        let engine = &p.engine.engine;
        match &p.code {
            Code::Component(component) => {
                let ty = component.component_type();
                lister.learn(engine, ty.imports(engine).map(|(n, e)| (n, e.ty)));
                lister.learn(engine, ty.exports(engine).map(|(n, e)| (n, e.ty)));
                lister.world(engine, ty.exports(engine).map(|(n, e)| (n, e.ty)));
            }
            Code::Module(module) => {
                for export in module.exports() {
                    lister.core("", export.name(), &export.ty());
                }
            }
        }
    });
}

/// The type of a component function as text; also for messages about a wrong entry.
pub fn func_text(func: &ComponentFunc) -> String {
    let mut text = TypeText { text: String::new(), names: &[] };
    text.func(func);
    text.text
}

struct Lister {
    each: ItemFn,
    user: *mut c_void,
    names: Vec<(ResourceType, String)>,
}

impl Lister {
    fn item(&self, kind: ItemKind, interface: &str, name: &str, ty: &str) {
        let span = |text: &str| Span::new(text.as_bytes());
        let item =
            Item { kind: kind as u32, interface: span(interface), name: span(name), ty: span(ty) };
        // Safety: the caller of the entry promised that `each` takes `user` and an item.
        unsafe { (self.each)(self.user, &item) };
    }

    /// Notes the names of resources, so that types can use them.
    fn learn<'a>(
        &mut self,
        engine: &wasmtime::Engine,
        items: impl Iterator<Item = (&'a str, ComponentItem)>,
    ) {
        let mut note = |name: &str, item: &ComponentItem| {
            if let ComponentItem::Resource(ty) = item
                && !self.names.iter().any(|(known, _)| known == ty)
            {
                self.names.push((*ty, name.to_owned()));
            }
        };
        for (name, item) in items {
            note(name, &item);
            if let ComponentItem::ComponentInstance(instance) = &item {
                for (name, member) in instance.exports(engine) {
                    note(name, &member.ty);
                }
            }
        }
    }

    fn world<'a>(
        &self,
        engine: &wasmtime::Engine,
        items: impl Iterator<Item = (&'a str, ComponentItem)>,
    ) {
        for (name, item) in items {
            if let ComponentItem::ComponentInstance(instance) = &item {
                self.item(ItemKind::Instance, name, "", "");
                for (member, extern_) in instance.exports(engine) {
                    self.component(name, member, &extern_.ty);
                }
            } else {
                self.component("", name, &item);
            }
        }
    }

    fn component(&self, interface: &str, name: &str, item: &ComponentItem) {
        let mut ty = TypeText { text: String::new(), names: &self.names };
        let kind = match item {
            ComponentItem::ComponentFunc(func) => {
                ty.func(func);
                ItemKind::Func
            }
            ComponentItem::Resource(_) => {
                ty.push("resource");
                ItemKind::Resource
            }
            ComponentItem::Type(t) => {
                ty.ty(t, 0);
                ItemKind::Other
            }
            ComponentItem::ComponentInstance(_) => {
                ty.push("instance");
                ItemKind::Other
            }
            ComponentItem::Module(_) => {
                ty.push("core module");
                ItemKind::Other
            }
            ComponentItem::Component(_) => {
                ty.push("component");
                ItemKind::Other
            }
            ComponentItem::CoreFunc(_) => {
                ty.push("core func");
                ItemKind::Other
            }
        };
        self.item(kind, interface, name, &ty.text);
    }

    fn core(&self, interface: &str, name: &str, ty: &ExternType) {
        let mut text = String::new();
        let limits = |text: &mut String, min: u64, max: Option<u64>| {
            let _ = write!(text, "{min}");
            if let Some(max) = max {
                let _ = write!(text, " {max}");
            }
        };
        let kind = match ty {
            ExternType::Func(func) => {
                text.push_str("(func");
                for param in func.params().take(1000) {
                    let _ = write!(text, " (param {param})");
                }
                for result in func.results().take(1000) {
                    let _ = write!(text, " (result {result})");
                }
                text.push(')');
                ItemKind::Func
            }
            ExternType::Memory(memory) => {
                text.push_str(if memory.is_64() { "(memory i64 " } else { "(memory " });
                limits(&mut text, memory.minimum(), memory.maximum());
                text.push(')');
                ItemKind::Memory
            }
            ExternType::Table(table) => {
                text.push_str("(table ");
                limits(&mut text, table.minimum(), table.maximum());
                let _ = write!(text, " {})", table.element());
                ItemKind::Table
            }
            ExternType::Global(global) => {
                let content = global.content();
                let _ = match global.mutability() {
                    wasmtime::Mutability::Var => write!(text, "(global (mut {content}))"),
                    wasmtime::Mutability::Const => write!(text, "(global {content})"),
                };
                ItemKind::Global
            }
            ExternType::Tag(_) => {
                text.push_str("(tag)");
                ItemKind::Other
            }
        };
        // The short names that people know.
        let text =
            text.replace("(ref null func)", "funcref").replace("(ref null extern)", "externref");
        self.item(kind, interface, name, &text);
    }
}

struct TypeText<'a> {
    text: String,
    names: &'a [(ResourceType, String)],
}

impl TypeText<'_> {
    fn full(&self) -> bool {
        self.text.len() >= TYPE_BYTES_MAX
    }

    fn push(&mut self, text: &str) {
        if !self.full() {
            self.text.push_str(text);
            if self.full() {
                self.text.push('…');
            }
        }
    }

    fn func(&mut self, func: &ComponentFunc) {
        self.push(if func.async_() { "async func(" } else { "func(" });
        for (i, (name, ty)) in func.params().enumerate() {
            if self.full() {
                return;
            }
            self.push(if i > 0 { ", " } else { "" });
            self.push(name);
            self.push(": ");
            self.ty(&ty, 0);
        }
        self.push(")");
        for ty in func.results() {
            self.push(" -> ");
            self.ty(&ty, 0);
        }
    }

    fn resource(&mut self, ty: &ResourceType) {
        let names = self.names;
        let name = names.iter().find(|(known, _)| known == ty).map(|(_, name)| name.as_str());
        self.push(name.unwrap_or("resource"));
    }

    /// "word<a, b>", with "_" for an absent type.
    fn generic(&mut self, word: &str, of: &[Option<Type>], depth: u32) {
        self.push(word);
        if of.iter().all(Option::is_none) {
            return;
        }
        // WIT drops an absent second type and writes an absent first one as "_".
        let of = if of.last().is_some_and(Option::is_none) { &of[..of.len() - 1] } else { of };
        self.push("<");
        for (i, ty) in of.iter().enumerate() {
            self.push(if i > 0 { ", " } else { "" });
            match ty {
                Some(ty) => self.ty(ty, depth + 1),
                None => self.push("_"),
            }
        }
        self.push(">");
    }

    fn names<'n>(&mut self, word: &str, names: impl Iterator<Item = &'n str>) {
        self.push(word);
        self.push(" { ");
        for (i, name) in names.enumerate() {
            if self.full() {
                return;
            }
            self.push(if i > 0 { ", " } else { "" });
            self.push(name);
        }
        self.push(" }");
    }

    fn ty(&mut self, ty: &Type, depth: u32) {
        if self.full() {
            return;
        }
        if depth > TYPE_DEPTH_MAX {
            return self.push("…");
        }
        match ty {
            Type::Bool => self.push("bool"),
            Type::S8 => self.push("s8"),
            Type::U8 => self.push("u8"),
            Type::S16 => self.push("s16"),
            Type::U16 => self.push("u16"),
            Type::S32 => self.push("s32"),
            Type::U32 => self.push("u32"),
            Type::S64 => self.push("s64"),
            Type::U64 => self.push("u64"),
            Type::Float32 => self.push("f32"),
            Type::Float64 => self.push("f64"),
            Type::Char => self.push("char"),
            Type::String => self.push("string"),
            Type::ErrorContext => self.push("error-context"),
            Type::Own(resource) => self.resource(resource),
            Type::Borrow(resource) => {
                self.push("borrow<");
                self.resource(resource);
                self.push(">");
            }
            Type::List(list) => self.generic("list", &[Some(list.ty())], depth),
            Type::FixedLengthList(list) => {
                self.push("list<");
                self.ty(&list.ty(), depth + 1);
                self.push(&format!(", {}>", list.len()));
            }
            Type::Map(map) => self.generic("map", &[Some(map.key()), Some(map.value())], depth),
            Type::Option(option) => self.generic("option", &[Some(option.ty())], depth),
            Type::Result(result) => self.generic("result", &[result.ok(), result.err()], depth),
            Type::Future(future) => self.generic("future", &[future.ty()], depth),
            Type::Stream(stream) => self.generic("stream", &[stream.ty()], depth),
            Type::Tuple(tuple) => {
                // Bounded before it is collected: a tuple may have very many members.
                let of: Vec<_> = tuple.types().take(TYPE_BYTES_MAX / 4).map(Some).collect();
                self.generic("tuple", &of, depth);
            }
            Type::Enum(e) => self.names("enum", e.names()),
            Type::Flags(flags) => self.names("flags", flags.names()),
            Type::Record(record) => {
                self.fields("record", record.fields().map(|f| (f.name, Some(f.ty))), depth);
            }
            Type::Variant(variant) => {
                self.fields("variant", variant.cases().map(|c| (c.name, c.ty)), depth);
            }
        }
    }

    fn fields<'n>(
        &mut self,
        word: &str,
        fields: impl Iterator<Item = (&'n str, Option<Type>)>,
        depth: u32,
    ) {
        let (before, after) = if word == "record" { (": ", "") } else { ("(", ")") };
        self.push(word);
        self.push(" { ");
        for (i, (name, ty)) in fields.enumerate() {
            if self.full() {
                return;
            }
            self.push(if i > 0 { ", " } else { "" });
            self.push(name);
            if let Some(ty) = ty {
                self.push(before);
                self.ty(&ty, depth + 1);
                self.push(after);
            }
        }
        self.push(" }");
    }
}
