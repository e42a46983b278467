// SPDX-License-Identifier: Apache-2.0
//! Wasmtime's errors as `gbw_failure`: typed errors first, then the texts of the few conditions for
//! which Wasmtime has no public type. Each of those texts is pinned by a test.

use std::any::Any;
use std::fmt;

use wasmtime::component::ResourceTableError;
use wasmtime::{Error, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::ffi::{Failure, GbwString};

const MESSAGE_BYTES_MAX: usize = 2048;
const BACKTRACE_BYTES_MAX: usize = 8192;
/// How Wasmtime begins the text of a backtrace.
const BACKTRACE_HEADING: &str = "error while executing at wasm backtrace";

#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    None = 0,
    Panic,
    Internal,
    Config,
    AddressSpace,
    InvalidModule,
    InvalidComponent,
    InvalidText,
    Link,
    NoExport,
    Trap,
    Exit,
    Stopped,
    LimitMemory,
    LimitTable,
    LimitInstances,
    LimitHandles,
    LimitHostcall,
    LimitAnswer,
    PoolFull,
    NeedsMemory64,
    LimitFields,
    HttpRequest,
    HttpNoResponse,
    HttpUnfinished,
}

#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrapKind {
    None = 0,
    StackOverflow,
    OutOfFuel,
    Interrupt,
    Unreachable,
    MemoryOutOfBounds,
    Other,
}

/// A callback of C asked to end the call; C has kept the reason.
#[derive(Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host ended the call")
    }
}
impl std::error::Error for Stopped {}

/// C broke the rules of the header.
#[derive(Debug)]
pub struct Defect(pub String);

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Defect {}

/// The agent's answer is longer than the call's limit.
#[derive(Debug)]
pub struct AnswerTooLong {
    pub bytes_max: u64,
}

impl fmt::Display for AnswerTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is longer than {} bytes", self.bytes_max)
    }
}
impl std::error::Error for AnswerTooLong {}

/// A function of C gave back what its type does not allow.
#[derive(Debug)]
pub struct BadHostValue(pub String);

impl fmt::Display for BadHostValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for BadHostValue {}

/// The values of a call take more host-call bytes than it has.
#[derive(Debug)]
pub struct HostcallBytes {
    pub bytes_max: u64,
}

impl fmt::Display for HostcallBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the arguments take more than {} bytes of the host", self.bytes_max)
    }
}
impl std::error::Error for HostcallBytes {}

#[derive(Debug)]
pub struct Fail {
    pub kind: FailureKind,
    pub trap: TrapKind,
    pub exit_status: i32,
    pub message: String,
    pub backtrace: String,
}

impl Fail {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Fail {
        let message = one_line(&message.into(), MESSAGE_BYTES_MAX);
        Fail { kind, trap: TrapKind::None, exit_status: 0, message, backtrace: String::new() }
    }

    pub fn from_panic(panic: Box<dyn Any + Send>) -> Fail {
        let text = if let Some(text) = panic.downcast_ref::<&str>() {
            (*text).to_owned()
        } else if let Some(text) = panic.downcast_ref::<String>() {
            text.clone()
        } else {
            "unknown panic".to_owned()
        };
        // A payload may panic when it is dropped; it is a defect already, so leak it.
        std::mem::forget(panic);
        Fail::new(FailureKind::Panic, text)
    }

    pub fn into_c(self) -> Failure {
        Failure {
            kind: self.kind as u32,
            trap: self.trap as u32,
            exit_status: self.exit_status,
            message: GbwString::new(self.message),
            backtrace: GbwString::new(self.backtrace),
        }
    }

    /// Classifies an error of Wasmtime's; `otherwise` is the kind where no rule applies.
    pub fn from_wasmtime(error: &Error, otherwise: FailureKind) -> Fail {
        let mut fail = Fail::new(otherwise, chain_text(error));
        if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
            fail.backtrace = frames(backtrace);
        }
        if error.is::<Stopped>() {
            fail.kind = FailureKind::Stopped;
        } else if error.is::<AnswerTooLong>() {
            fail.kind = FailureKind::LimitAnswer;
        } else if error.is::<BadHostValue>() {
            fail.kind = FailureKind::Config;
        } else if error.is::<HostcallBytes>() {
            fail.kind = FailureKind::LimitHostcall;
        } else if let Some(kind) = crate::http::kind_of(error) {
            fail.kind = kind;
        } else if let Some(exit) = error.downcast_ref::<I32Exit>() {
            fail.kind = FailureKind::Exit;
            fail.exit_status = exit.0;
        } else if let Some(trap) = error.downcast_ref::<Trap>() {
            fail.kind = FailureKind::Trap;
            fail.trap = trap_kind(*trap);
            fail.message = one_line(&trap.to_string(), MESSAGE_BYTES_MAX);
        } else if error.is::<PoolConcurrencyLimitError>() {
            fail.kind = FailureKind::PoolFull;
        } else if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
            fail.kind = FailureKind::LimitHandles;
        } else if let Some(kind) = kind_of_text(error) {
            fail.kind = kind;
        } else if error.is::<Defect>() {
            fail.kind = FailureKind::Internal;
        } else if !fail.backtrace.is_empty() && otherwise == FailureKind::Internal {
            // Raised under guest code without a type of its own: a broken use of the component ABI
            // (a bad pointer, an unknown handle). That is the guest's doing.
            fail.kind = FailureKind::Trap;
        }
        if fail.kind == FailureKind::Trap && fail.trap == TrapKind::None {
            fail.trap = TrapKind::Other;
        }
        fail
    }
}

fn trap_kind(trap: Trap) -> TrapKind {
    match trap {
        Trap::StackOverflow => TrapKind::StackOverflow,
        Trap::OutOfFuel => TrapKind::OutOfFuel,
        Trap::Interrupt => TrapKind::Interrupt,
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        _ => TrapKind::Other,
    }
}

/// Conditions that Wasmtime reports as text only. All of these texts are its own; a guest cannot
/// choose them, because names a guest chose never begin a link of the chain.
fn kind_of_text(error: &Error) -> Option<FailureKind> {
    use FailureKind::*;
    const STARTS: &[(&str, FailureKind)] = &[
        ("memory minimum size of ", LimitMemory),
        ("table minimum size of ", LimitTable),
        ("resource limit exceeded: ", LimitInstances),
        ("too much data is being copied between the host and the guest", LimitHostcall),
        ("requested len ", LimitHostcall),
        ("cannot allocate another handle: ", LimitHandles),
        ("cannot lend resource: ", LimitHandles),
        // The pool's shape, found out when a program is compiled.
        ("defined memories count of ", LimitInstances),
        ("defined tables count of ", LimitInstances),
        ("The component transitively contains ", LimitInstances),
        ("instance allocation for this ", LimitInstances),
        ("memory has a minimum byte size ", LimitMemory),
        ("table index ", LimitTable),
        ("memory64 must be enabled for 64-bit ", NeedsMemory64),
        // Reservations.
        ("mmap failed to ", AddressSpace),
        ("failed to create memory pool mapping", AddressSpace),
        ("failed to create table pool mapping", AddressSpace),
        ("failed to create stack pool mapping", AddressSpace),
        ("failed to protect stack guard page", AddressSpace),
        ("total size of memory reservation exceeds addressable memory", AddressSpace),
        ("total size of tables exceeds addressable memory", AddressSpace),
        ("total size of execution stacks exceeds addressable memory", AddressSpace),
    ];
    for link in error.chain() {
        let text = link_text(link);
        if let Some((_, kind)) = STARTS.iter().find(|(start, _)| text.starts_with(start)) {
            return Some(*kind);
        }
        if let Some(io) = link.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::OutOfMemory
        {
            return Some(AddressSpace);
        }
    }
    Option::None
}

/// The whole chain on one line, without the backtrace that Wasmtime adds as a link.
fn chain_text(error: &Error) -> String {
    let mut line = String::new();
    for link in error.chain() {
        let text = link_text(link);
        // Headings without news; the second one says "module" of components too.
        if text.starts_with(BACKTRACE_HEADING)
            || text == "failed to parse WebAssembly module"
            || text.is_empty()
        {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
        if line.len() > MESSAGE_BYTES_MAX {
            break;
        }
    }
    line
}

/// Text on one line: runs of white space become one blank, other control characters vanish, since
/// names in it may be the guest's.
pub fn one_line(text: &str, bytes_max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(bytes_max + 4));
    let mut blank = false;
    for c in text.chars() {
        if c.is_whitespace() {
            blank = !line.is_empty();
            continue;
        }
        if c.is_control() {
            continue;
        }
        if line.len() + c.len_utf8() + 1 > bytes_max {
            line.push('…');
            break;
        }
        if std::mem::take(&mut blank) {
            line.push(' ');
        }
        line.push(c);
    }
    line
}

/// The text of one link, cut. A backtrace is left at its heading: Wasmtime shows the names of a
/// guest's functions demangled, and a C++ name of 300 bytes may stand for gigabytes.
fn link_text(link: &(dyn std::error::Error + 'static)) -> String {
    struct Cut(String);
    impl fmt::Write for Cut {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            let room = 2 * MESSAGE_BYTES_MAX - self.0.len();
            self.0.push_str(&part[..part.floor_char_boundary(room)]);
            let ended = part.len() > room || self.0.starts_with(BACKTRACE_HEADING);
            if ended { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut cut = Cut(String::new());
    let _ = fmt::write(&mut cut, format_args!("{link}")); // the error only says that it was cut
    cut.0
}

/// The frames of a backtrace, one per line, with the names as the guest's file has them.
fn frames(backtrace: &WasmBacktrace) -> String {
    let mut lines = String::new();
    for (i, frame) in backtrace.frames().iter().enumerate() {
        let module = one_line(frame.module().name().unwrap_or("<unknown>"), 128);
        let function = match frame.func_name() {
            Some(name) => one_line(name, 256),
            None => format!("<wasm function {}>", frame.func_index()),
        };
        let offset = frame.module_offset().map_or(String::new(), |at| format!("{at:#8x} - "));
        let line = format!("{i}: {offset}{module}!{function}");
        if lines.len() + line.len() + 1 > BACKTRACE_BYTES_MAX {
            break;
        }
        if !lines.is_empty() {
            lines.push('\n');
        }
        lines.push_str(&line);
    }
    lines
}
