// SPDX-License-Identifier: Apache-2.0
//! Types of functions as `gb_signature`: nodes and members in two flat arrays.
//!
//! Component types form a graph that a hostile file can blow up exponentially when it is written
//! out as a tree; so nodes and depth are bounded, and the walk has a queue of its own.

use std::collections::{HashMap, VecDeque};

use wasmtime::component::types::{ComponentFunc, Type};
use wasmtime::{FuncType, ValType};

use crate::ffi::{Member, NO_TYPE, Signature, Text, TypeNode};

const NODES_MAX: usize = 10_000;
const MEMBERS_MAX: usize = 20_000;
/// Conversions of values recurse as deep as their type.
const DEPTH_MAX: u32 = 32;

/// As in `glovebox/value.h`.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    Bool = 1,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    Bytes,
    List,
    Record,
    Tuple,
    Variant,
    Enum,
    Option,
    Result,
    Flags,
    Other,
}

impl Kind {
    pub fn of(number: u32) -> std::option::Option<Kind> {
        use Kind::*;
        const ALL: [Kind; 23] = [
            Bool, S8, U8, S16, U16, S32, U32, S64, U64, F32, F64, Char, String, Bytes, List, Record,
            Tuple, Variant, Enum, Option, Result, Flags, Other,
        ];
        ALL.get((number as usize).wrapping_sub(1)).copied()
    }
}

pub struct Node {
    pub kind: Kind,
    pub first: u32,
    pub len: u32,
    /// Names of cases and flags to their numbers.
    numbers: HashMap<Box<str>, u32>,
}

/// The types of a function, and their C form.
pub struct Types {
    pub nodes: Vec<Node>,
    /// Names, and the node of each member or `NO_TYPE`.
    pub members: Vec<(Box<str>, u32)>,
    pub params: u32,
    pub params_len: u32,
    pub result: u32,
    c_nodes: Vec<TypeNode>,
    c_members: Vec<Member>,
    pub c: Signature,
}

// Safety: the pointers in the C form lead into this object's own arrays, which never change.
unsafe impl Send for Types {}
// Safety: as above.
unsafe impl Sync for Types {}

/// Why a type cannot be described.
pub const TOO_LARGE: &str = "its type has more than 10000 parts or is nested more than 32 deep";

impl Types {
    pub fn of_component(func: &ComponentFunc) -> Result<Box<Types>, &'static str> {
        let mut walk = Walk::default();
        let params: Vec<_> =
            func.params().take(MEMBERS_MAX).map(|(name, ty)| (name.to_owned(), Some(ty))).collect();
        let (first, len) = walk.members(params, 0)?;
        let mut results = func.results();
        let result = match results.next() {
            Some(ty) => walk.node(ty, 0)?,
            None => NO_TYPE,
        };
        walk.run()?;
        Ok(walk.finish(first, len, result))
    }

    /// Core functions: numbers without names; several results are a tuple.
    pub fn of_core(func: &FuncType) -> Result<Box<Types>, &'static str> {
        let mut walk = Walk::default();
        let mut kinds = |types: &mut dyn Iterator<Item = ValType>| {
            let first = walk.members.len() as u32;
            for ty in types {
                if walk.members.len() >= MEMBERS_MAX {
                    return Err(TOO_LARGE);
                }
                let kind = match ty {
                    ValType::I32 => Kind::S32,
                    ValType::I64 => Kind::S64,
                    ValType::F32 => Kind::F32,
                    ValType::F64 => Kind::F64,
                    ValType::V128 | ValType::Ref(_) => Kind::Other,
                };
                walk.members.push((String::new().into(), walk.nodes.len() as u32));
                walk.nodes.push(Node { kind, first: 0, len: 0, numbers: HashMap::new() });
            }
            Ok((first, walk.members.len() as u32 - first))
        };
        let (params, params_len) = kinds(&mut func.params())?;
        let (first, len) = kinds(&mut func.results())?;
        let result = match len {
            0 => NO_TYPE,
            1 => walk.members[first as usize].1,
            _ => {
                walk.nodes.push(Node { kind: Kind::Tuple, first, len, numbers: HashMap::new() });
                walk.nodes.len() as u32 - 1
            }
        };
        Ok(walk.finish(params, params_len, result))
    }

    pub fn node(&self, ty: u32) -> &Node {
        &self.nodes[ty as usize]
    }

    pub fn members(&self, node: &Node) -> &[(Box<str>, u32)] {
        &self.members[node.first as usize..(node.first + node.len) as usize]
    }

    pub fn params(&self) -> &[(Box<str>, u32)] {
        &self.members[self.params as usize..(self.params + self.params_len) as usize]
    }

    /// What cannot cross at all, by the kinds that occur.
    pub fn has_other(&self) -> bool {
        self.nodes.iter().any(|node| node.kind == Kind::Other)
    }
}

impl Node {
    pub fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }
}

#[derive(Default)]
struct Walk {
    nodes: Vec<Node>,
    members: Vec<(Box<str>, u32)>,
    queue: VecDeque<(u32, Type, u32)>,
}

impl Walk {
    fn node(&mut self, ty: Type, depth: u32) -> Result<u32, &'static str> {
        if self.nodes.len() >= NODES_MAX || depth > DEPTH_MAX {
            return Err(TOO_LARGE);
        }
        let kind = kind_of(&ty);
        let number = self.nodes.len() as u32;
        self.nodes.push(Node { kind, first: 0, len: 0, numbers: HashMap::new() });
        if kind as u32 > Kind::Bytes as u32 && kind != Kind::Other {
            self.queue.push_back((number, ty, depth));
        }
        Ok(number)
    }

    fn members(
        &mut self,
        of: Vec<(String, Option<Type>)>,
        depth: u32,
    ) -> Result<(u32, u32), &'static str> {
        if self.members.len() + of.len() > MEMBERS_MAX {
            return Err(TOO_LARGE);
        }
        let (first, len) = (self.members.len() as u32, of.len() as u32);
        for (name, ty) in of {
            let node = match ty {
                Some(ty) => self.node(ty, depth)?,
                None => NO_TYPE,
            };
            self.members.push((name.into(), node));
        }
        Ok((first, len))
    }

    fn run(&mut self) -> Result<(), &'static str> {
        while let Some((number, ty, depth)) = self.queue.pop_front() {
            let of = members_of(&ty);
            let kind = self.nodes[number as usize].kind;
            let numbers = match kind {
                Kind::Variant | Kind::Enum | Kind::Flags => {
                    of.iter().zip(0..).map(|((name, _), i)| (name.as_str().into(), i)).collect()
                }
                _ => HashMap::new(),
            };
            let (first, len) = self.members(of, depth + 1)?;
            self.nodes[number as usize] = Node { kind, first, len, numbers };
        }
        Ok(())
    }

    fn finish(self, params: u32, params_len: u32, result: u32) -> Box<Types> {
        let mut types = Box::new(Types {
            nodes: self.nodes,
            members: self.members,
            params,
            params_len,
            result,
            c_nodes: Vec::new(),
            c_members: Vec::new(),
            c: Signature::EMPTY,
        });
        types.c_nodes = types
            .nodes
            .iter()
            .map(|node| TypeNode { kind: node.kind as u32, first: node.first, len: node.len })
            .collect();
        types.c_members = types
            .members
            .iter()
            .map(|(name, ty)| Member { name: Text::new(name.as_bytes()), ty: *ty })
            .collect();
        types.c = Signature {
            types: types.c_nodes.as_ptr(),
            types_len: types.c_nodes.len(),
            members: types.c_members.as_ptr(),
            members_len: types.c_members.len(),
            params,
            params_len,
            result,
        };
        types
    }
}

fn kind_of(ty: &Type) -> Kind {
    match ty {
        Type::Bool => Kind::Bool,
        Type::S8 => Kind::S8,
        Type::U8 => Kind::U8,
        Type::S16 => Kind::S16,
        Type::U16 => Kind::U16,
        Type::S32 => Kind::S32,
        Type::U32 => Kind::U32,
        Type::S64 => Kind::S64,
        Type::U64 => Kind::U64,
        Type::Float32 => Kind::F32,
        Type::Float64 => Kind::F64,
        Type::Char => Kind::Char,
        Type::String => Kind::String,
        Type::List(list) if list.ty() == Type::U8 => Kind::Bytes,
        Type::List(_) => Kind::List,
        Type::Record(_) => Kind::Record,
        Type::Tuple(_) => Kind::Tuple,
        Type::Variant(_) => Kind::Variant,
        Type::Enum(_) => Kind::Enum,
        Type::Option(_) => Kind::Option,
        Type::Result(_) => Kind::Result,
        Type::Flags(_) => Kind::Flags,
        Type::Own(_)
        | Type::Borrow(_)
        | Type::Future(_)
        | Type::Stream(_)
        | Type::ErrorContext
        | Type::Map(_)
        | Type::FixedLengthList(_) => Kind::Other,
    }
}

/// Bounded before they are collected: `Walk::members` refuses one more than fits.
fn members_of(ty: &Type) -> Vec<(String, Option<Type>)> {
    const MOST: usize = MEMBERS_MAX + 1;
    let unnamed = |ty: Option<Type>| (String::new(), ty);
    match ty {
        Type::List(list) => vec![unnamed(Some(list.ty()))],
        Type::Option(option) => vec![unnamed(Some(option.ty()))],
        Type::Result(result) => vec![unnamed(result.ok()), unnamed(result.err())],
        Type::Tuple(tuple) => tuple.types().take(MOST).map(|ty| unnamed(Some(ty))).collect(),
        Type::Record(record) => {
            record.fields().take(MOST).map(|f| (f.name.to_owned(), Some(f.ty))).collect()
        }
        Type::Variant(variant) => {
            variant.cases().take(MOST).map(|c| (c.name.to_owned(), c.ty)).collect()
        }
        Type::Enum(e) => e.names().take(MOST).map(|name| (name.to_owned(), None)).collect(),
        Type::Flags(f) => f.names().take(MOST).map(|name| (name.to_owned(), None)).collect(),
        _ => Vec::new(),
    }
}
