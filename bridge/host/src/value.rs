// SPDX-License-Identifier: Apache-2.0
//! Values of C and values of Wasmtime, into each other, by the type.
//!
//! The recursion is as deep as the type, which `types.rs` bounds. What comes from a guest was
//! charged to the call's host-call bytes while it was lifted (48 bytes and more for each part), so
//! that its size here is bounded as well.

use std::mem::size_of;

use wasmtime::component::Val;

use crate::fail::Defect;
use crate::ffi::{Items, NO_TYPE, Text, Value, ValueOf, slice};
use crate::types::{Kind, Types};

/// A value of C's with all that it points to.
#[derive(Default)]
pub struct Answer {
    root: Option<Box<Value>>,
    lists: Vec<Box<[Value]>>,
    texts: Vec<Vec<u8>>,
    bytes: u64,
}

// Safety: the pointers lead into this object's own allocations, which nothing changes.
unsafe impl Send for Answer {}

impl Answer {
    pub fn value(&self) -> *const Value {
        self.root.as_deref().map_or(std::ptr::null(), std::ptr::from_ref)
    }

    /// Heap bytes, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn set(&mut self, root: Value) {
        self.bytes += size_of::<Value>() as u64;
        self.root = Some(Box::new(root));
    }

    pub fn text(&mut self, kind: Kind, bytes: Vec<u8>) -> Value {
        let text = Text::new(&bytes);
        if !bytes.is_empty() {
            self.bytes += (bytes.capacity() + size_of::<Vec<u8>>()) as u64;
            self.texts.push(bytes);
        }
        Value { kind: kind as u32, which: 0, of: ValueOf { text } }
    }

    pub fn list(&mut self, kind: Kind, which: u32, items: Vec<Value>) -> Value {
        if items.is_empty() {
            let list = Items { items: std::ptr::null(), len: 0 };
            return Value { kind: kind as u32, which, of: ValueOf { list } };
        }
        let items = items.into_boxed_slice();
        let list = Items { items: items.as_ptr(), len: items.len() };
        self.bytes += (size_of_val(&*items) + size_of::<Box<[Value]>>()) as u64;
        self.lists.push(items);
        Value { kind: kind as u32, which, of: ValueOf { list } }
    }

    /// # Errors
    /// A defect where the value is not of the type: Wasmtime has checked it.
    pub fn convert(&mut self, types: &Types, ty: u32, val: Val) -> Result<Value, Defect> {
        let node = types.node(ty);
        let kind = node.kind;
        let natural = |n: u64| Value::natural(kind, n);
        let integer = |n: i64| Value::integer(kind, n);
        let wrong = || Defect(format!("a value that is no {kind:?}"));
        let number = |name: &str| node.number(name).ok_or_else(wrong);
        let member = |i: u32| types.members(node)[i as usize].1;
        Ok(match (kind, val) {
            (Kind::Bool, Val::Bool(b)) => natural(b.into()),
            (Kind::S8, Val::S8(n)) => integer(n.into()),
            (Kind::S16, Val::S16(n)) => integer(n.into()),
            (Kind::S32, Val::S32(n)) => integer(n.into()),
            (Kind::S64, Val::S64(n)) => integer(n),
            (Kind::U8, Val::U8(n)) => natural(n.into()),
            (Kind::U16, Val::U16(n)) => natural(n.into()),
            (Kind::U32, Val::U32(n)) => natural(n.into()),
            (Kind::U64, Val::U64(n)) => natural(n),
            (Kind::F32, Val::Float32(f)) => Value::f32(f),
            (Kind::F64, Val::Float64(f)) => Value::f64(f),
            (Kind::Char, Val::Char(c)) => natural(c.into()),
            (Kind::String, Val::String(s)) => self.text(kind, s.into_bytes()),
            (Kind::Bytes, Val::List(items)) => {
                let bytes = items.into_iter().map(|item| match item {
                    Val::U8(byte) => Ok(byte),
                    _ => Err(wrong()),
                });
                let bytes = bytes.collect::<Result<Vec<u8>, Defect>>()?;
                self.text(kind, bytes)
            }
            (Kind::List, Val::List(items)) => {
                let element = member(0);
                let items = items.into_iter().map(|item| self.convert(types, element, item));
                let items = items.collect::<Result<Vec<_>, _>>()?;
                self.list(kind, 0, items)
            }
            (Kind::Tuple, Val::Tuple(items)) if items.len() == node.len as usize => {
                let items = items.into_iter().zip(0..);
                let items = items.map(|(item, i)| self.convert(types, member(i), item));
                let items = items.collect::<Result<Vec<_>, _>>()?;
                self.list(kind, 0, items)
            }
            (Kind::Record, Val::Record(fields)) if fields.len() == node.len as usize => {
                let fields = fields.into_iter().zip(0..);
                let items = fields.map(|((_, field), i)| self.convert(types, member(i), field));
                let items = items.collect::<Result<Vec<_>, _>>()?;
                self.list(kind, 0, items)
            }
            (Kind::Variant, Val::Variant(name, payload)) => {
                let which = number(&name)?;
                self.payload(types, kind, which, member(which), payload)?
            }
            (Kind::Enum, Val::Enum(name)) => Value { which: number(&name)?, ..natural(0) },
            (Kind::Option, Val::Option(payload)) => {
                let ty = if payload.is_some() { member(0) } else { NO_TYPE };
                self.payload(types, kind, payload.is_some().into(), ty, payload)?
            }
            (Kind::Result, Val::Result(Ok(payload))) => {
                self.payload(types, kind, 0, member(0), payload)?
            }
            (Kind::Result, Val::Result(Err(payload))) => {
                self.payload(types, kind, 1, member(1), payload)?
            }
            (Kind::Flags, Val::Flags(names)) => {
                let mut bits = 0;
                for name in names {
                    bits |= 1u64.checked_shl(number(&name)?).ok_or_else(wrong)?;
                }
                natural(bits)
            }
            _ => return Err(wrong()),
        })
    }

    fn payload(
        &mut self,
        types: &Types,
        kind: Kind,
        which: u32,
        ty: u32,
        payload: Option<Box<Val>>,
    ) -> Result<Value, Defect> {
        let items = match payload {
            Some(val) if ty != NO_TYPE => vec![self.convert(types, ty, *val)?],
            None if ty == NO_TYPE => Vec::new(),
            _ => return Err(Defect(format!("a {kind:?} with a payload that its type has not"))),
        };
        Ok(self.list(kind, which, items))
    }
}

impl Value {
    pub fn natural(kind: Kind, natural: u64) -> Value {
        Value { kind: kind as u32, which: 0, of: ValueOf { natural } }
    }

    pub fn integer(kind: Kind, integer: i64) -> Value {
        Value { kind: kind as u32, which: 0, of: ValueOf { integer } }
    }

    pub fn f32(f32: f32) -> Value {
        Value { kind: Kind::F32 as u32, which: 0, of: ValueOf { f32 } }
    }

    pub fn f64(f64: f64) -> Value {
        Value { kind: Kind::F64 as u32, which: 0, of: ValueOf { f64 } }
    }

    /// What `to_val` will allocate, about.
    ///
    /// # Safety
    /// As `to_val`, and the value was compared with a type: its depth is bounded.
    pub unsafe fn val_bytes(&self) -> u64 {
        let each = size_of::<Val>() as u64;
        // Safety: the caller's promise.
        unsafe {
            match Kind::of(self.kind) {
                Some(Kind::String) => each + self.of.text.len as u64,
                Some(Kind::Bytes) => each + each.saturating_mul(self.of.text.len as u64),
                Some(
                    Kind::List
                    | Kind::Record
                    | Kind::Tuple
                    | Kind::Variant
                    | Kind::Option
                    | Kind::Result,
                ) => {
                    let items = self.items().iter().map(|item| item.val_bytes());
                    items.fold(each, u64::saturating_add)
                }
                _ => each,
            }
        }
    }

    /// Reads a value of C's as one of that type.
    ///
    /// # Safety
    /// The value has the fields that its kind asks for, and what they point to is readable.
    pub unsafe fn to_val(&self, types: &Types, ty: u32) -> Result<Val, Defect> {
        let node = types.node(ty);
        let members = types.members(node);
        let of = &self.of;
        if self.kind != node.kind as u32 {
            return Err(Defect(format!("a value of kind {} for a {:?}", self.kind, node.kind)));
        }
        let wrong = || Defect(format!("a {:?} with a number or length out of range", node.kind));
        // Safety of this block: the fields that the kind asks for, and the caller's promise.
        unsafe {
            let int = |min: i64, max: i64| match of.integer {
                n if (min..=max).contains(&n) => Ok(n),
                _ => Err(wrong()),
            };
            let nat = |max: u64| if of.natural <= max { Ok(of.natural) } else { Err(wrong()) };
            let case = || members.get(self.which as usize).ok_or_else(wrong);
            Ok(match node.kind {
                Kind::Bool => Val::Bool(of.boolean != 0),
                Kind::S8 => Val::S8(int(i8::MIN.into(), i8::MAX.into())? as i8),
                Kind::S16 => Val::S16(int(i16::MIN.into(), i16::MAX.into())? as i16),
                Kind::S32 => Val::S32(int(i32::MIN.into(), i32::MAX.into())? as i32),
                Kind::S64 => Val::S64(of.integer),
                Kind::U8 => Val::U8(nat(u8::MAX.into())? as u8),
                Kind::U16 => Val::U16(nat(u16::MAX.into())? as u16),
                Kind::U32 => Val::U32(nat(u32::MAX.into())? as u32),
                Kind::U64 => Val::U64(of.natural),
                Kind::F32 => Val::Float32(of.f32),
                Kind::F64 => Val::Float64(of.f64),
                Kind::Char => {
                    let code = nat(u32::MAX.into())? as u32;
                    Val::Char(char::from_u32(code).ok_or_else(wrong)?)
                }
                Kind::String => {
                    let text = std::str::from_utf8(of.text.bytes());
                    Val::String(text.map_err(|_| Defect("text is not UTF-8".into()))?.to_owned())
                }
                Kind::Bytes => {
                    Val::List(of.text.bytes().iter().map(|byte| Val::U8(*byte)).collect())
                }
                Kind::List => {
                    let items = self.items().iter().map(|item| item.to_val(types, members[0].1));
                    Val::List(items.collect::<Result<_, _>>()?)
                }
                Kind::Tuple | Kind::Record if self.items().len() != members.len() => {
                    return Err(wrong());
                }
                Kind::Tuple => {
                    let items = self.items().iter().zip(members);
                    let items = items.map(|(item, (_, ty))| item.to_val(types, *ty));
                    Val::Tuple(items.collect::<Result<_, _>>()?)
                }
                Kind::Record => {
                    let items = self.items().iter().zip(members);
                    let items = items.map(|(item, (name, ty))| {
                        item.to_val(types, *ty).map(|val| (name.to_string(), val))
                    });
                    Val::Record(items.collect::<Result<_, _>>()?)
                }
                Kind::Variant => {
                    let (name, ty) = case()?;
                    Val::Variant(name.to_string(), self.payload(types, *ty)?)
                }
                Kind::Enum => Val::Enum(case()?.0.to_string()),
                Kind::Option if self.which == 0 => Val::Option(None),
                Kind::Option => Val::Option(self.payload(types, members[0].1)?),
                Kind::Result => {
                    let (_, ty) = case()?;
                    let payload = self.payload(types, *ty)?;
                    Val::Result(if self.which == 0 { Ok(payload) } else { Err(payload) })
                }
                Kind::Flags => {
                    let set = members.iter().zip(0u32..);
                    let set = set.filter(|(_, i)| of.natural.checked_shr(*i).unwrap_or(0) & 1 != 0);
                    Val::Flags(set.map(|((name, _), _)| name.to_string()).collect())
                }
                Kind::Other => return Err(Defect("a resource cannot be passed as a value".into())),
            })
        }
    }

    /// # Safety
    /// As `to_val`, for a kind with a list.
    unsafe fn items<'a>(&self) -> &'a [Value] {
        // Safety: the caller's promise.
        unsafe { slice(self.of.list.items, self.of.list.len) }
    }

    /// # Safety
    /// As `items`.
    unsafe fn payload(&self, types: &Types, ty: u32) -> Result<Option<Box<Val>>, Defect> {
        // Safety: the caller's promise.
        let items = unsafe { self.items() };
        match (items, ty) {
            ([], NO_TYPE) => Ok(None),
            // Safety: the caller's promise.
            ([item], ty) if ty != NO_TYPE => Ok(Some(Box::new(unsafe { item.to_val(types, ty)? }))),
            _ => Err(Defect("a payload where the type has none, or none where it has one".into())),
        }
    }
}
