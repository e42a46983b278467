// SPDX-License-Identifier: Apache-2.0
//! TOML with positions: a walk over a parsed document, one callback per value.
//!
//! Parents come before children and siblings in the order of their first appearance. The parser
//! bounds nesting; the walk keeps its own stack.

use std::borrow::Cow;
use std::ffi::{c_char, c_void};
use std::ops::Range;

use toml_edit::{Document, Item, Key, TableLike, Value};

use crate::ffi::{guard_quiet, slice};

const OK: u32 = 0;
const SYNTAX: u32 = 1;
const STOPPED: u32 = 2;
const PANIC: u32 = 3;

#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    String = 0,
    Integer,
    Float,
    Bool,
    Datetime,
    Table,
    Array,
}

#[repr(C)]
pub struct GbtValue {
    pub kind: u32,
    pub line: u32,
    pub column: u32,
    pub path: *const c_char,
    pub path_len: usize,
    pub text: *const c_char,
    pub text_len: usize,
    pub integer: i64,
    pub number: f64,
}
pub type ValueFn = unsafe extern "C" fn(user: *mut c_void, value: *const GbtValue) -> bool;

/// # Safety
/// `bytes` points to `len` readable bytes; `message` to `message_cap` writable ones, or is NULL;
/// `ret_line` and `ret_column` are writable or NULL; `each` accepts `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gbt_toml_walk(
    bytes: *const u8,
    len: usize,
    each: Option<ValueFn>,
    user: *mut c_void,
    message: *mut c_char,
    message_cap: usize,
    ret_line: *mut u32,
    ret_column: *mut u32,
) -> u32 {
    guard_quiet(PANIC, || {
        // Safety: the caller's promise.
        let bytes = unsafe { slice(bytes, len) };
        let Err(error) = walk(bytes, each, user) else { return OK };
        let (what, line, column) = match error {
            End::Stopped => return STOPPED,
            End::Syntax(what, line, column) => (what, line, column),
        };
        let what = crate::fail::one_line(&what, message_cap.clamp(1, 4096));
        // Safety: the caller's promise for all three.
        unsafe {
            write_text(&what, message, message_cap);
            if !ret_line.is_null() {
                ret_line.write(line);
            }
            if !ret_column.is_null() {
                ret_column.write(column);
            }
        }
        SYNTAX
    })
}

/// # Safety
/// `to` is NULL or points to `cap` writable bytes.
unsafe fn write_text(text: &str, to: *mut c_char, cap: usize) {
    if to.is_null() || cap == 0 {
        return;
    }
    let mut len = text.len().min(cap - 1);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    // Safety: `len` is below `cap`, and the two cannot overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), to.cast::<u8>(), len);
        to.add(len).write(0);
    }
}

enum End {
    Stopped,
    Syntax(String, u32, u32),
}

/// Where things are: line starts, and the last column counted, so that one very long line does not
/// cost a count from its beginning for every value on it.
struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
    last: (usize, u32), // offset on a line, and its column
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Places<'a> {
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        Places { text, lines: std::iter::once(0).chain(starts).collect(), last: (0, 1) }
    }

    fn place(&mut self, offset: usize) -> (u32, u32) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let (from, column) =
            if (start..=offset).contains(&self.last.0) { self.last } else { (start, 1) };
        let column = column + self.text[from..offset].chars().count() as u32;
        self.last = (offset, column);
        (line as u32, column)
    }
}

/// A key as it may stand in a path: quoted unless it is bare.
fn quoted(name: &str) -> Cow<'_, str> {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !name.is_empty() && name.bytes().all(bare) {
        return name.into();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")).into()
}

/// Something still to visit.
struct Todo<'a> {
    path: String,
    place: Option<Range<usize>>,
    node: Node<'a>,
}

enum Node<'a> {
    Item(&'a Item),
    Table(&'a toml_edit::Table),
    Value(&'a Value),
}

fn walk(bytes: &[u8], each: Option<ValueFn>, user: *mut c_void) -> Result<(), End> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let before = String::from_utf8_lossy(&bytes[..e.valid_up_to()]).into_owned();
        let (line, column) = Places::new(&before).place(before.len());
        End::Syntax("not UTF-8".to_owned(), line, column)
    })?;
    let mut places = Places::new(text);
    let document = Document::parse(text).map_err(|e| {
        let (line, column) = places.place(e.span().map_or(0, |span| span.start));
        End::Syntax(e.message().to_owned(), line, column)
    })?;
    let Some(each) = each else { return Ok(()) };
    let mut walker = Walker { places, each, user, todo: Vec::new() };
    walker.push_members("", document.as_table());
    while let Some(todo) = walker.todo.pop() {
        walker.visit(todo)?;
    }
    Ok(())
}

struct Walker<'a> {
    places: Places<'a>,
    each: ValueFn,
    user: *mut c_void,
    todo: Vec<Todo<'a>>,
}

impl<'a> Walker<'a> {
    /// Pushes the members of a table; the first comes out first.
    fn push_members(&mut self, path: &str, table: &'a dyn TableLike) {
        let from = self.todo.len();
        for (name, item) in table.iter() {
            let key = table.key(name);
            let place = key.and_then(Key::span).or_else(|| item.span());
            let name = quoted(name);
            let path = if path.is_empty() { name.into_owned() } else { format!("{path}.{name}") };
            self.todo.push(Todo { path, place, node: Node::Item(item) });
        }
        self.todo[from..].reverse();
    }

    fn visit(&mut self, todo: Todo<'a>) -> Result<(), End> {
        let Todo { path, place, node } = todo;
        match node {
            Node::Item(Item::None) => Ok(()),
            Node::Item(Item::Value(value)) | Node::Value(value) => self.value(path, place, value),
            Node::Item(Item::Table(table)) | Node::Table(table) => {
                self.emit(&path, place, Kind::Table, "", Numbers::default())?;
                self.push_members(&path, table);
                Ok(())
            }
            Node::Item(Item::ArrayOfTables(array)) => {
                self.emit(&path, place, Kind::Array, "", Numbers::default())?;
                let from = self.todo.len();
                for (i, table) in array.iter().enumerate() {
                    let path = format!("{path}[{i}]");
                    self.todo.push(Todo { path, place: table.span(), node: Node::Table(table) });
                }
                self.todo[from..].reverse();
                Ok(())
            }
        }
    }

    fn value(
        &mut self,
        path: String,
        place: Option<Range<usize>>,
        value: &'a Value,
    ) -> Result<(), End> {
        let source = value.span().and_then(|span| self.places.text.get(span)).unwrap_or("");
        let mut numbers = Numbers::default();
        let (kind, text) = match value {
            Value::String(s) => (Kind::String, s.value().as_str()),
            Value::Integer(i) => {
                numbers.integer = *i.value();
                (Kind::Integer, source)
            }
            Value::Float(f) => {
                numbers.number = *f.value();
                (Kind::Float, source)
            }
            Value::Boolean(b) => {
                numbers.integer = i64::from(*b.value());
                (Kind::Bool, source)
            }
            Value::Datetime(_) => (Kind::Datetime, source),
            Value::Array(_) => (Kind::Array, source),
            Value::InlineTable(_) => (Kind::Table, source),
        };
        self.emit(&path, place.or_else(|| value.span()), kind, text, numbers)?;
        if let Value::InlineTable(table) = value {
            self.push_members(&path, table);
        } else if let Value::Array(array) = value {
            let from = self.todo.len();
            for (i, value) in array.iter().enumerate() {
                let path = format!("{path}[{i}]");
                self.todo.push(Todo { path, place: value.span(), node: Node::Value(value) });
            }
            self.todo[from..].reverse();
        }
        Ok(())
    }

    fn emit(
        &mut self,
        path: &str,
        place: Option<Range<usize>>,
        kind: Kind,
        text: &str,
        numbers: Numbers,
    ) -> Result<(), End> {
        let (line, column) = self.places.place(place.map_or(0, |place| place.start));
        let value = GbtValue {
            kind: kind as u32,
            line,
            column,
            path: path.as_ptr().cast(),
            path_len: path.len(),
            text: text.as_ptr().cast(),
            text_len: text.len(),
            integer: numbers.integer,
            number: numbers.number,
        };
        // Safety: the entry's caller promised that `each` takes `user` and borrows the value.
        if unsafe { (self.each)(self.user, &value) } { Ok(()) } else { Err(End::Stopped) }
    }
}

#[derive(Default)]
struct Numbers {
    integer: i64,
    number: f64,
}
