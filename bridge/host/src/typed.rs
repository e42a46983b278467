// SPDX-License-Identifier: Apache-2.0
//! Calls of an exported function with values.
//!
//! Two ways in. The shapes of the list at `by_shape` (parameters and results with `list<u8>`,
//! among text and numbers) are called typed: bytes cross in bulk, one copy, and cost as many
//! host-call bytes as they are long. Everything else goes by `Val`, where each part costs
//! `size_of::<Val>()` (40 bytes and more; a `list<u8>` inside a record, say, that much per byte):
//! both directions are charged to the call's host-call bytes, so that the host's memory for one
//! crossing is bounded by them; past them the call ends with `LimitHostcall`.

use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, Val,
};
use wasmtime::{Result, Store, bail};

use crate::fail::{Defect, HostcallBytes};
use crate::ffi::{NO_TYPE, Value, slice};
use crate::limits::Ctx;
use crate::types::{Kind, Types};
use crate::value::Answer;

/// C's values, borrowed until the call is freed.
#[derive(Clone, Copy)]
pub struct Params {
    ptr: *const Value,
    len: usize,
}

// Safety: C promises (in the header) that the values stay as they are until the call is freed.
unsafe impl Send for Params {}
// Safety: as above.
unsafe impl Sync for Params {}

impl Params {
    pub fn new(ptr: *const Value, len: usize) -> Params {
        Params { ptr, len }
    }

    fn values<'a>(self) -> &'a [Value] {
        // Safety: the promise above.
        unsafe { slice(self.ptr, self.len) }
    }
}

/// A parameter read from C's value, whose kind was compared with the type.
trait Arg<'a>: Sized {
    /// # Safety
    /// The value is of the kind that the implementor stands for.
    unsafe fn of(value: &'a Value) -> Result<Self>;
}

impl<'a> Arg<'a> for &'a [u8] {
    unsafe fn of(value: &'a Value) -> Result<Self> {
        // Safety: the caller's promise.
        Ok(unsafe { value.of.text.bytes() })
    }
}
impl<'a> Arg<'a> for &'a str {
    unsafe fn of(value: &'a Value) -> Result<Self> {
        // Safety: the caller's promise.
        Ok(std::str::from_utf8(unsafe { value.of.text.bytes() })?)
    }
}
impl<'a> Arg<'a> for u32 {
    unsafe fn of(value: &'a Value) -> Result<Self> {
        // Safety: the caller's promise.
        Ok(u32::try_from(unsafe { value.of.natural })?)
    }
}
impl<'a> Arg<'a> for u64 {
    unsafe fn of(value: &'a Value) -> Result<Self> {
        // Safety: the caller's promise.
        Ok(unsafe { value.of.natural })
    }
}

/// A part of a result, put into the answer.
trait Part {
    fn part(self, to: &mut Answer) -> Value;
}

impl Part for Vec<u8> {
    fn part(self, to: &mut Answer) -> Value {
        to.text(Kind::Bytes, self)
    }
}
impl Part for String {
    fn part(self, to: &mut Answer) -> Value {
        to.text(Kind::String, self.into_bytes())
    }
}
impl Part for u32 {
    fn part(self, _: &mut Answer) -> Value {
        Value::natural(Kind::U32, self.into())
    }
}
impl Part for u64 {
    fn part(self, _: &mut Answer) -> Value {
        Value::natural(Kind::U64, self)
    }
}
impl Part for Option<Vec<u8>> {
    fn part(self, to: &mut Answer) -> Value {
        let items: Vec<_> = self.into_iter().map(|bytes| bytes.part(to)).collect();
        to.list(Kind::Option, items.len() as u32, items)
    }
}
impl<T: Part> Part for std::result::Result<T, String> {
    fn part(self, to: &mut Answer) -> Value {
        let (which, item) = match self {
            Ok(ok) => (0, ok.part(to)),
            Err(text) => (1, text.part(to)),
        };
        to.list(Kind::Result, which, vec![item])
    }
}
impl Part for std::result::Result<(), String> {
    fn part(self, to: &mut Answer) -> Value {
        let (which, items) = match self {
            Ok(()) => (0, Vec::new()),
            Err(text) => (1, vec![text.part(to)]),
        };
        to.list(Kind::Result, which, items)
    }
}

trait Give {
    fn give(self, to: &mut Answer);
}
impl Give for () {
    fn give(self, _: &mut Answer) {}
}
impl<T: Part> Give for (T,) {
    fn give(self, to: &mut Answer) {
        let value = self.0.part(to);
        to.set(value);
    }
}

struct Target<'a> {
    store: &'a mut Store<Ctx>,
    instance: Instance,
    index: &'a ComponentExportIndex,
}

async fn go<P, R>(target: Target<'_>, params: P) -> Result<Answer>
where
    P: ComponentNamedList + Lower + Send + Sync,
    R: ComponentNamedList + Lift + Give + Send + Sync + 'static,
{
    let func = target.instance.get_typed_func::<P, R>(&mut *target.store, target.index)?;
    let result = func.call_async(&mut *target.store, params).await?;
    let mut answer = Answer::default();
    result.give(&mut answer);
    Ok(answer)
}

/// The result's shape as a list of kinds: the type, then what is inside an option or result
/// (`None`: no payload).
fn result_shape(types: &Types) -> Vec<Option<Kind>> {
    if types.result == NO_TYPE {
        return Vec::new();
    }
    let node = types.node(types.result);
    let inner = match node.kind {
        Kind::Option | Kind::Result => types.members(node),
        _ => &[],
    };
    let inner = inner.iter().map(|(_, ty)| (*ty != NO_TYPE).then(|| types.node(*ty).kind));
    std::iter::once(Some(node.kind)).chain(inner).collect()
}

macro_rules! rust_type {
    (Bytes) => { &[u8] };
    (String) => { &str };
    (U32) => { u32 };
    (U64) => { u64 };
}

macro_rules! by_params {
    ($target:ident $kinds:ident $values:ident $result:ty; $(($($kind:ident)*))*) => {
        match $kinds {
            $([$(Kind::$kind),*] => {
                let mut values = $values.iter();
                let mut _next = || values.next().ok_or(Defect("too few values".into()));
                // Safety: `call` has compared the kinds of values and parameters.
                let params = ($(unsafe { <rust_type!($kind) as Arg>::of(_next()?) }?,)*);
                Box::pin(go::<_, $result>($target, params)).await.map(Some)
            })*
            _ => Ok(None),
        }
    };
}

/// Parameters with bytes among them.
async fn bytes_in<R>(t: Target<'_>, kinds: &[Kind], values: &[Value]) -> Result<Option<Answer>>
where
    R: ComponentNamedList + Lift + Give + Send + Sync + 'static,
{
    by_params!(t kinds values R;
        (Bytes) (Bytes String) (String Bytes) (Bytes Bytes) (Bytes U32) (U32 Bytes) (Bytes U64)
        (U64 Bytes) (Bytes U32 U32) (String Bytes String) (String String Bytes)
        (Bytes String String) (Bytes Bytes Bytes) (String U64 Bytes))
}

/// Other parameters, for results with bytes.
async fn bytes_out<R>(t: Target<'_>, kinds: &[Kind], values: &[Value]) -> Result<Option<Answer>>
where
    R: ComponentNamedList + Lift + Give + Send + Sync + 'static,
{
    by_params!(t kinds values R;
        () (String) (U32) (U64) (String String) (U32 U32) (String U32) (U64 U64) (String U64 U64))
}

/// `None`: not one of the shapes; nothing was called.
async fn by_shape(
    t: Target<'_>,
    types: &Types,
    kinds: &[Kind],
    values: &[Value],
) -> Result<Option<Answer>> {
    use Kind::{Bytes as B, Option as O, Result as R, String as S, U32, U64};
    type Or<T> = std::result::Result<T, String>;
    let shape = result_shape(types);
    if kinds.contains(&B) {
        match *shape.as_slice() {
            [] => bytes_in::<()>(t, kinds, values).await,
            [Some(B)] => bytes_in::<(Vec<u8>,)>(t, kinds, values).await,
            [Some(S)] => bytes_in::<(String,)>(t, kinds, values).await,
            [Some(U32)] => bytes_in::<(u32,)>(t, kinds, values).await,
            [Some(U64)] => bytes_in::<(u64,)>(t, kinds, values).await,
            [Some(O), Some(B)] => bytes_in::<(Option<Vec<u8>>,)>(t, kinds, values).await,
            [Some(R), Some(B), Some(S)] => bytes_in::<(Or<Vec<u8>>,)>(t, kinds, values).await,
            [Some(R), Some(S), Some(S)] => bytes_in::<(Or<String>,)>(t, kinds, values).await,
            [Some(R), None, Some(S)] => bytes_in::<(Or<()>,)>(t, kinds, values).await,
            _ => Ok(None),
        }
    } else {
        match *shape.as_slice() {
            [Some(B)] => bytes_out::<(Vec<u8>,)>(t, kinds, values).await,
            [Some(O), Some(B)] => bytes_out::<(Option<Vec<u8>>,)>(t, kinds, values).await,
            [Some(R), Some(B), Some(S)] => bytes_out::<(Or<Vec<u8>>,)>(t, kinds, values).await,
            _ => Ok(None),
        }
    }
}

fn check(types: &Types, values: &[Value]) -> Result<()> {
    let params = types.params();
    if values.len() != params.len() {
        bail!(Defect(format!("{} values for {} parameters", values.len(), params.len())));
    }
    for (value, (_, ty)) in values.iter().zip(params) {
        if value.kind != types.node(*ty).kind as u32 {
            bail!(Defect("a value of another kind than its parameter".into()));
        }
    }
    Ok(())
}

/// What the values take as `Val`s, which must fit the host-call bytes too.
fn vals(types: &Types, values: &[Value], bytes_max: u64) -> Result<Vec<Val>> {
    let mut left = bytes_max;
    for value in values {
        // Safety: C's promise about the values.
        let cost = unsafe { value.val_bytes() };
        left = left.checked_sub(cost).ok_or(HostcallBytes { bytes_max })?;
    }
    let pairs = values.iter().zip(types.params());
    // Safety: C's promise about the values.
    let vals = pairs.map(|(value, (_, ty))| unsafe { value.to_val(types, *ty) });
    Ok(vals.collect::<std::result::Result<_, _>>()?)
}

pub async fn call(
    store: &mut Store<Ctx>,
    instance: Instance,
    index: &ComponentExportIndex,
    types: &Types,
    params: Params,
    bytes_max: u64,
) -> Result<Answer> {
    let values = params.values();
    check(types, values)?;
    let kinds: Vec<Kind> = types.params().iter().map(|(_, ty)| types.node(*ty).kind).collect();
    let target = Target { store: &mut *store, instance, index };
    if let Some(answer) = by_shape(target, types, &kinds, values).await? {
        return Ok(answer);
    }
    let vals = vals(types, values, bytes_max)?;
    let Some(func) = instance.get_func(&mut *store, index) else {
        bail!(Defect("the function is gone".into()));
    };
    let mut results = vec![Val::Bool(false); usize::from(types.result != NO_TYPE)];
    func.call_async(&mut *store, &vals, &mut results).await?;
    let mut answer = Answer::default();
    if let Some(result) = results.pop() {
        let value = answer.convert(types, types.result, result)?;
        answer.set(value);
    }
    Ok(answer)
}

/// Core functions: numbers only. `_initialize`, which reactors have, runs first.
pub async fn call_core(
    store: &mut Store<Ctx>,
    instance: wasmtime::Instance,
    name: &str,
    types: &Types,
    params: Params,
) -> Result<Answer> {
    let values = params.values();
    check(types, values)?;
    let Some(func) = instance.get_func(&mut *store, name) else {
        bail!(Defect("the function is gone".into()));
    };
    let args = values.iter().zip(types.params()).map(|(value, (_, ty))| {
        let of = &value.of;
        // Safety: `check` compared the kinds.
        unsafe {
            Ok(match types.node(*ty).kind {
                Kind::S32 => wasmtime::Val::I32(i32::try_from(of.integer)?),
                Kind::S64 => wasmtime::Val::I64(of.integer),
                Kind::F32 => wasmtime::Val::F32(of.f32.to_bits()),
                Kind::F64 => wasmtime::Val::F64(of.f64.to_bits()),
                _ => bail!(Defect("no number".into())),
            })
        }
    });
    let args = args.collect::<Result<Vec<_>>>()?;
    let mut results = vec![wasmtime::Val::I32(0); func.ty(&*store).results().len()];
    func.call_async(&mut *store, &args, &mut results).await?;
    let mut values = results.into_iter().map(|result| {
        Ok(match result {
            wasmtime::Val::I32(n) => Value::integer(Kind::S32, n.into()),
            wasmtime::Val::I64(n) => Value::integer(Kind::S64, n),
            wasmtime::Val::F32(bits) => Value::f32(f32::from_bits(bits)),
            wasmtime::Val::F64(bits) => Value::f64(f64::from_bits(bits)),
            _ => bail!(Defect("no number".into())),
        })
    });
    let values = values.by_ref().collect::<Result<Vec<_>>>()?;
    let mut answer = Answer::default();
    match values.len() {
        0 => {}
        1 => answer.set(values[0]),
        _ => {
            let tuple = answer.list(Kind::Tuple, 0, values);
            answer.set(tuple);
        }
    }
    Ok(answer)
}
