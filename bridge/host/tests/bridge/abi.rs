// SPDX-License-Identifier: Apache-2.0
//! The headers and `ffi.rs` say the same: a C program prints sizes, offsets and numbers, and Rust
//! prints its own.

use std::mem::{offset_of, size_of};
use std::process::Command;

use glovebox_bridge_host::fail::{FailureKind, TrapKind};
use glovebox_bridge_host::ffi::*;
use glovebox_bridge_host::text::{GbtValue, Kind};
use glovebox_bridge_host::types::Kind as ValueKind;

/// One list for both languages: the C name, the Rust type, the fields by C and Rust name.
macro_rules! structs {
    ($($c:literal $rust:ident { $($field:literal $member:ident),* $(,)? })*) => {
        fn c_lines() -> String {
            let mut c = String::new();
            $(
                c += &format!("S({});", $c);
                $(c += &format!("O({}, {});", $c, $field);)*
            )*
            c
        }
        fn rust_lines() -> Vec<String> {
            let mut lines = Vec::new();
            $(
                lines.push(format!("{} {}", $c, size_of::<$rust>()));
                $(lines.push(format!("{}.{} {}", $c, $field, offset_of!($rust, $member)));)*
            )*
            lines
        }
    };
}

structs! {
    "struct gbw_span" Span { "ptr" ptr, "len" len }
    "struct gbw_string" GbwString { "ptr" ptr, "len" len, "cap" cap }
    "struct gbw_bytes" GbwBytes { "ptr" ptr, "len" len, "cap" cap }
    "struct gbw_failure" Failure { "kind" kind, "trap" trap, "exit_status" exit_status,
        "message" message, "backtrace" backtrace }
    "struct gbw_engine_config" EngineConfig { "fuel" fuel, "memory64" memory64, "pooling" pooling,
        "wasm_stack_bytes" wasm_stack_bytes, "async_stack_bytes" async_stack_bytes,
        "memory_reservation_bytes" memory_reservation_bytes,
        "memory_guard_bytes" memory_guard_bytes, "component_handles_max" component_handles_max,
        "pool_calls" pool_calls, "pool_core_instances" pool_core_instances,
        "pool_memories" pool_memories, "pool_tables" pool_tables,
        "core_instances_per_call_max" core_instances_per_call_max,
        "memories_per_call_max" memories_per_call_max,
        "tables_per_call_max" tables_per_call_max,
        "pool_memory_bytes_max" pool_memory_bytes_max,
        "pool_table_elements_max" pool_table_elements_max,
        "pool_keep_resident_bytes" pool_keep_resident_bytes }
    "struct gbw_item" Item { "kind" kind, "interface" interface, "name" name, "type" ty }
    "struct gbw_named_tensor" NamedTensor { "name" name, "tensor" tensor }
    "struct gbw_blob" Blob { "ptr" ptr, "len" len, "owner" owner, "release" release }
    "struct gbw_host" Host { "tick" tick, "memory_growing" memory_growing,
        "memory_grow_failed" memory_grow_failed, "table_growing" table_growing,
        "table_grow_failed" table_grow_failed, "write" write, "tensor_new" tensor_new,
        "tensor_drop" tensor_drop, "tensor_info" tensor_info, "tensor_data" tensor_data,
        "graph_load" graph_load, "graph_loaded" graph_loaded, "graph_load_by_name" graph_load_by_name,
        "graph_drop" graph_drop, "context_new" context_new, "context_drop" context_drop,
        "context_set_input" context_set_input, "context_get_output" context_get_output,
        "compute_start" compute_start, "compute_poll" compute_poll,
        "compute_output" compute_output, "compute_end" compute_end, "error_info" error_info,
        "error_drop" error_drop, "error_new" error_new, "witx_call" witx_call,
        "witx_finish" witx_finish, "witx_error" witx_error, "metrics_counter" metrics_counter,
        "metrics_gauge" metrics_gauge, "log" log, "context_text" context_text,
        "context_time_us" context_time_us, "http_request_body" http_request_body,
        "http_request_trailers" http_request_trailers,
        "http_response_head" http_response_head, "http_response_body" http_response_body,
        "http_response_end" http_response_end, "http_charge" http_charge,
        "http_uncharge" http_uncharge, "http_egress" http_egress }
    "struct gbw_http_request" HttpRequest { "method" method, "scheme" scheme,
        "authority" authority, "path_with_query" path_with_query, "fields" fields,
        "fields_len" fields_len }
    "struct gbw_memory" Memory { "ptr" ptr, "len" len }
    "struct gbw_field" Field { "key" key, "value" value }
    "struct gbw_preopen" Preopen { "host_path" host_path, "guest_path" guest_path,
        "writable" writable }
    "struct gbw_waker" CWaker { "ctx" ctx, "wake" wake, "release" release }
    "struct gbw_call_config" CallConfig { "user" user, "waker" waker, "argument" argument,
        "params" params, "params_len" params_len, "args" args, "args_len" args_len, "env" env, "env_len" env_len, "preopens" preopens,
        "preopens_len" preopens_len, "inherit_stdin" inherit_stdin,
        "inherit_network" inherit_network, "fuel" fuel,
        "hostcall_bytes_max" hostcall_bytes_max, "random_bytes_max" random_bytes_max,
        "answer_bytes_max" answer_bytes_max, "handles_max" handles_max,
        "instances_max" instances_max, "memories_max" memories_max, "tables_max" tables_max,
        "http" http, "http_fields_bytes_max" http_fields_bytes_max,
        "http_chunk_bytes" http_chunk_bytes }
    "struct gbw_outcome" Outcome { "kind" kind, "exit_status" exit_status, "text" text,
        "value" value, "answer" answer, "answer_bytes" answer_bytes, "failure" failure, "fuel_left" fuel_left, "instantiate_us" instantiate_us }
    "struct gb_text" Text { "ptr" ptr, "len" len }
    "struct gb_value" Value { "kind" kind, "which" which, "of" of }
    "struct gb_value_member" Member { "name" name, "type" ty }
    "struct gb_value_type" TypeNode { "kind" kind, "first" first, "len" len }
    "struct gb_signature" Signature { "types" types, "types_len" types_len, "members" members,
        "members_len" members_len, "params" params, "params_len" params_len, "result" result }
    "struct gbw_custom" Custom { "interface" interface, "name" name, "call" call, "data" data }
    "struct gbw_link_more" LinkMore { "call_interface" call_interface, "call_name" call_name,
        "customs" customs, "customs_len" customs_len }
    "struct gbt_value" GbtValue { "kind" kind, "line" line, "column" column, "path" path,
        "path_len" path_len, "text" text, "text_len" text_len, "integer" integer,
        "number" number }
}

fn numbers() -> Vec<(&'static str, u32)> {
    use FailureKind as F;
    use ItemKind as I;
    use TrapKind as T;
    vec![
        ("GBW_ABI", glovebox_bridge_host::ABI),
        ("GB_VALUE_BOOL", ValueKind::Bool as u32),
        ("GB_VALUE_BYTES", ValueKind::Bytes as u32),
        ("GB_VALUE_OTHER", ValueKind::Other as u32),
        ("GB_VALUE_NO_TYPE", NO_TYPE),
        ("GBW_NONE", F::None as u32),
        ("GBW_PANIC", F::Panic as u32),
        ("GBW_INTERNAL", F::Internal as u32),
        ("GBW_CONFIG", F::Config as u32),
        ("GBW_ADDRESS_SPACE", F::AddressSpace as u32),
        ("GBW_INVALID_MODULE", F::InvalidModule as u32),
        ("GBW_INVALID_COMPONENT", F::InvalidComponent as u32),
        ("GBW_INVALID_TEXT", F::InvalidText as u32),
        ("GBW_LINK", F::Link as u32),
        ("GBW_NO_EXPORT", F::NoExport as u32),
        ("GBW_TRAP", F::Trap as u32),
        ("GBW_EXIT", F::Exit as u32),
        ("GBW_STOPPED", F::Stopped as u32),
        ("GBW_LIMIT_MEMORY", F::LimitMemory as u32),
        ("GBW_LIMIT_TABLE", F::LimitTable as u32),
        ("GBW_LIMIT_INSTANCES", F::LimitInstances as u32),
        ("GBW_LIMIT_HANDLES", F::LimitHandles as u32),
        ("GBW_LIMIT_HOSTCALL", F::LimitHostcall as u32),
        ("GBW_LIMIT_ANSWER", F::LimitAnswer as u32),
        ("GBW_POOL_FULL", F::PoolFull as u32),
        ("GBW_NEEDS_MEMORY64", F::NeedsMemory64 as u32),
        ("GBW_LIMIT_FIELDS", F::LimitFields as u32),
        ("GBW_HTTP_REQUEST", F::HttpRequest as u32),
        ("GBW_HTTP_NO_RESPONSE", F::HttpNoResponse as u32),
        ("GBW_HTTP_UNFINISHED", F::HttpUnfinished as u32),
        ("GBW_TRAP_NONE", T::None as u32),
        ("GBW_TRAP_STACK_OVERFLOW", T::StackOverflow as u32),
        ("GBW_TRAP_OUT_OF_FUEL", T::OutOfFuel as u32),
        ("GBW_TRAP_INTERRUPT", T::Interrupt as u32),
        ("GBW_TRAP_UNREACHABLE", T::Unreachable as u32),
        ("GBW_TRAP_MEMORY_OUT_OF_BOUNDS", T::MemoryOutOfBounds as u32),
        ("GBW_TRAP_OTHER", T::Other as u32),
        ("GBW_ITEM_FUNC", I::Func as u32),
        ("GBW_ITEM_RESOURCE", I::Resource as u32),
        ("GBW_ITEM_INSTANCE", I::Instance as u32),
        ("GBW_ITEM_MEMORY", I::Memory as u32),
        ("GBW_ITEM_TABLE", I::Table as u32),
        ("GBW_ITEM_GLOBAL", I::Global as u32),
        ("GBW_ITEM_OTHER", I::Other as u32),
        ("GBW_STDOUT", STDOUT),
        ("GBW_STDERR", STDERR),
        ("GBW_TICK_YIELD", TICK_YIELD),
        ("GBW_TICK_STOP", TICK_STOP),
        ("GBW_NN_OK", NN_OK),
        ("GBW_NN_ERROR", NN_ERROR),
        ("GBW_NN_STOP", NN_STOP),
        ("GBW_NN_PENDING", NN_PENDING),
        ("GBW_LINK_WASI", LINK_WASI),
        ("GBW_LINK_SOCKETS", LINK_SOCKETS),
        ("GBW_LINK_P1", LINK_P1),
        ("GBW_LINK_NN_1028", LINK_NN_1028),
        ("GBW_LINK_NN_0819", LINK_NN_0819),
        ("GBW_LINK_NN_0625", LINK_NN_0625),
        ("GBW_LINK_WITX", LINK_WITX),
        ("GBW_LINK_HOST", LINK_HOST),
        ("GBW_LINK_HTTP", LINK_HTTP),
        ("GBW_LINK_EGRESS", LINK_EGRESS),
        ("GBW_IO_OK", IO_OK),
        ("GBW_IO_PENDING", IO_PENDING),
        ("GBW_IO_END", IO_END),
        ("GBW_IO_ERROR", IO_ERROR),
        ("GBW_WITX_LOAD", WITX_LOAD),
        ("GBW_WITX_LOAD_BY_NAME", WITX_LOAD_BY_NAME),
        ("GBW_WITX_INIT_EXECUTION_CONTEXT", WITX_INIT_EXECUTION_CONTEXT),
        ("GBW_WITX_SET_INPUT", WITX_SET_INPUT),
        ("GBW_WITX_COMPUTE", WITX_COMPUTE),
        ("GBW_WITX_GET_OUTPUT", WITX_GET_OUTPUT),
        ("GBW_LOG_FIELDS_MAX", LOG_FIELDS_MAX as u32),
        ("GBW_CONTEXT_CALL_ID", CONTEXT_CALL_ID),
        ("GBW_CONTEXT_TENANT", CONTEXT_TENANT),
        ("GBW_CONTEXT_TRACEPARENT", CONTEXT_TRACEPARENT),
        ("GBW_ENTRY_AGENT", ENTRY_AGENT),
        ("GBW_ENTRY_COMMAND", ENTRY_COMMAND),
        ("GBW_ENTRY_START", ENTRY_START),
        ("GBW_ENTRY_CALL", ENTRY_CALL),
        ("GBW_ENTRY_HTTP", ENTRY_HTTP),
        ("GBW_PENDING", POLL_PENDING),
        ("GBW_READY", POLL_READY),
        ("GBW_DONE_OK", OutcomeKind::Ok as u32),
        ("GBW_DONE_ERR", OutcomeKind::Err as u32),
        ("GBW_DONE_EXIT", OutcomeKind::Exit as u32),
        ("GBW_DONE_FAILED", OutcomeKind::Failed as u32),
        ("GBT_STRING", Kind::String as u32),
        ("GBT_INTEGER", Kind::Integer as u32),
        ("GBT_FLOAT", Kind::Float as u32),
        ("GBT_BOOL", Kind::Bool as u32),
        ("GBT_DATETIME", Kind::Datetime as u32),
        ("GBT_TABLE", Kind::Table as u32),
        ("GBT_ARRAY", Kind::Array as u32),
        ("GBT_OK", 0),
        ("GBT_SYNTAX", 1),
        ("GBT_STOPPED", 2),
        ("GBT_PANIC", 3),
    ]
}

#[test]
fn the_headers_and_the_mirror_agree() {
    let numbers = numbers();
    let constants: String = numbers.iter().map(|(name, _)| format!("E({name});")).collect();
    let source = format!(
        r#"
#include <stddef.h>
#include <stdio.h>
#include "gb_text.h"
#include "gb_wasm.h"
#define S(t) printf("%s %zu\n", #t, sizeof(t))
#define O(t, f) printf("%s.%s %zu\n", #t, #f, offsetof(t, f))
#define E(e) printf("%s %u\n", #e, (unsigned)(e))
_Static_assert(sizeof(enum gbw_tick) == 4 && sizeof(enum gbw_poll) == 4, "enums are 32 bits");
int main(void) {{ {structs} {constants} return 0; }}
"#,
        structs = c_lines(),
    );
    let folder = std::env::temp_dir().join(format!("bridge-abi-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (file, program) = (folder.join("abi.c"), folder.join("abi"));
    std::fs::write(&file, source).unwrap();
    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let status = Command::new(cc)
        .args(["-std=gnu17", "-Wall", "-Werror", "-I", env!("CARGO_MANIFEST_DIR"), "-I"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../include"))
        .arg("-o")
        .args([&program, &file])
        .status()
        .expect("a C compiler");
    assert!(status.success());
    let output = Command::new(&program).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let c: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let mut rust = rust_lines();
    rust.extend(numbers.iter().map(|(name, value)| format!("{name} {value}")));
    assert_eq!(c, rust);
}

#[test]
fn the_version_is_that_of_the_lock_file() {
    let lock =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
    let (_, after) = lock.split_once("name = \"wasmtime\"\nversion = \"").unwrap();
    let (version, _) = after.split_once('"').unwrap();
    let told = unsafe { std::ffi::CStr::from_ptr(glovebox_bridge_host::gbw_version()) };
    assert_eq!(told.to_str().unwrap(), format!("wasmtime {version}"));
    assert_eq!(glovebox_bridge_host::gbw_abi(), 1);
}
