// SPDX-License-Identifier: Apache-2.0
//! WASI: what is granted works, what is not is not there.

use std::time::{Duration, Instant};

use glovebox_bridge_host::fail::FailureKind;
use glovebox_bridge_host::ffi::*;

use crate::fixture::*;

const P1: &str = r#"
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $env_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open
    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) "hello\n")
  (data (i32.const 96) "file")
  (func $print
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 6))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
"#;

fn p1(body: &str) -> String {
    format!("(module {P1} (func (export \"_start\") {body}))")
}

#[test]
fn a_p1_command_prints_and_exits() {
    let engine = Engine::new(&engine_config());
    let go = |body: &str, user: &mut User| {
        run(&engine.linked(&p1(body), LINK_P1, ENTRY_START), user, |_| ())
    };
    let mut user = User::default();
    go("(call $print)", &mut user).expect(OutcomeKind::Ok);
    assert_eq!(user.out, b"hello\n");
    let ended = go("(call $proc_exit (i32.const 3))", &mut user);
    ended.expect(OutcomeKind::Exit);
    assert_eq!(ended.exit_status, 3);
    go("(call $proc_exit (i32.const 0))", &mut user).expect(OutcomeKind::Ok);
}

#[test]
fn a_flood_of_output_ends_the_call() {
    let engine = Engine::new(&engine_config());
    let linked = engine.linked(&p1("(loop $l (call $print) (br $l))"), LINK_P1, ENTRY_START);
    let mut user = User { out_max: Some(600), ..User::default() };
    run(&linked, &mut user, |_| ()).expect_failure(FailureKind::Stopped);
    assert_eq!(user.out.len(), 606);
}

#[test]
fn p1_random_bytes_are_limited_per_call_of_the_host() {
    let engine = Engine::new(&engine_config());
    let text = p1("(if (call $random_get (i32.const 1024) (i32.const 60000)) (then unreachable))");
    let linked = engine.linked(&text, LINK_P1, ENTRY_START);
    run(&linked, &mut User::default(), |_| ()).expect(OutcomeKind::Ok);
    run(&linked, &mut User::default(), |c| c.random_bytes_max = 59_999)
        .expect_failure(FailureKind::LimitHostcall);
}

#[test]
fn arguments_variables_and_folders_are_there_only_when_given() {
    let engine = Engine::new(&engine_config());
    let counts = p1(r#"
        (drop (call $args_sizes (i32.const 0) (i32.const 4)))
        (drop (call $env_sizes (i32.const 8) (i32.const 12)))
        (call $proc_exit (i32.add (i32.load (i32.const 0))
          (i32.add (i32.mul (i32.load (i32.const 8)) (i32.const 10))
            (i32.mul (i32.eqz (call $prestat (i32.const 3) (i32.const 16))) (i32.const 100)))))"#);
    let linked = engine.linked(&counts, LINK_P1, ENTRY_START);
    run(&linked, &mut User::default(), |_| ()).expect(OutcomeKind::Ok);
    let args = [Span::new(b"program"), Span::new(b"x")];
    let env = [Span::new(b"NAME"), Span::new(b"value")];
    let folder = std::env::temp_dir();
    let folder = folder.to_str().unwrap();
    let preopens = [Preopen {
        host_path: Span::new(folder.as_bytes()),
        guest_path: Span::new(b"/"),
        writable: false,
    }];
    let ended = run(&linked, &mut User::default(), |c| {
        (c.args, c.args_len) = (args.as_ptr(), args.len());
        (c.env, c.env_len) = (env.as_ptr(), env.len());
        (c.preopens, c.preopens_len) = (preopens.as_ptr(), preopens.len());
    });
    assert_eq!(ended.exit_status, 112, "{ended:?}");
}

#[test]
fn a_folder_is_read_only_unless_writable() {
    let engine = Engine::new(&engine_config());
    // Creates "file" for writing in the first folder.
    let text = p1(r#"(call $proc_exit (call $path_open (i32.const 3) (i32.const 0) (i32.const 96)
        (i32.const 4) (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 200)))"#);
    let linked = engine.linked(&text, LINK_P1, ENTRY_START);
    let folder = std::env::temp_dir().join(format!("bridge-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.to_str().unwrap().to_owned();
    let open = |writable| {
        let preopens = [Preopen {
            host_path: Span::new(path.as_bytes()),
            guest_path: Span::new(b"/"),
            writable,
        }];
        run(&linked, &mut User::default(), |c| {
            (c.preopens, c.preopens_len) = (preopens.as_ptr(), preopens.len());
        })
        .exit_status
    };
    assert_ne!(open(false), 0);
    assert!(!folder.join("file").exists());
    assert_eq!(open(true), 0);
    assert!(folder.join("file").exists());
    std::fs::remove_dir_all(&folder).unwrap();
    // A folder that is not there: no call, and the host's path is not told.
    let gone = [Preopen {
        host_path: Span::new(path.as_bytes()),
        guest_path: Span::new(b"/data"),
        writable: false,
    }];
    let Err(failed) = Call::new(&linked, &mut User::default(), |c| {
        (c.preopens, c.preopens_len) = (gone.as_ptr(), gone.len());
    }) else {
        panic!("accepted")
    };
    assert!(failed.is(FailureKind::Config), "{failed:?}");
    assert!(failed.message.contains("/data") && !failed.message.contains(&path), "{failed:?}");
}

#[test]
fn standard_input_is_closed() {
    let engine = Engine::new(&engine_config());
    let text = p1(
        r#"(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 16))
        (i32.store (i32.const 8) (i32.const 7))
        (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
        (call $proc_exit (i32.load (i32.const 8)))"#,
    );
    run(&engine.linked(&text, LINK_P1, ENTRY_START), &mut User::default(), |_| ())
        .expect(OutcomeKind::Ok);
}

const SLEEP_IMPORTS: &str = r#"
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $p0))
    (export "pollable" (type $p (eq $p0)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))"#;
const SLEEP_MODULE: &str = r#"
  (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
  (import "host" "block" (func $block (param i32)))"#;
const SLEEP_WITH: &str = r#"
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core instance $host
    (export "subscribe" (func $subscribe)) (export "block" (func $block)))"#;

fn sleeper(body: &str) -> String {
    agent_with(SLEEP_IMPORTS, SLEEP_MODULE, SLEEP_WITH, body)
}

#[test]
fn a_sleeping_guest_is_woken_by_the_waker() {
    let engine = Engine::new(&engine_config());
    let text = sleeper(
        "(call $block (call $subscribe (i64.const 50000000)))
        (call $ok (local.get $p) (local.get $n))",
    );
    let linked = engine.linked(&text, LINK_WASI, ENTRY_AGENT);
    let start = Instant::now();
    let ended = run(&linked, &mut User::default(), |_| ());
    ended.expect(OutcomeKind::Ok);
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(ended.polls < 10, "it slept and did not spin: {} polls", ended.polls);
    // Freed while asleep: the timer goes with it, nothing is woken later.
    let text = sleeper("(call $block (call $subscribe (i64.const 30000000))) unreachable");
    let linked = engine.linked(&text, LINK_WASI, ENTRY_AGENT);
    let mut user = User::default();
    let mut call = Call::new(&linked, &mut user, |_| ()).unwrap();
    while call.poll().is_none() && call.wakes.wait(Duration::from_millis(3)) {}
    drop(call);
    std::thread::sleep(Duration::from_millis(50));
}

#[test]
fn wasi_handles_are_limited() {
    let engine = Engine::new(&engine_config());
    let text = sleeper("(loop $l (drop (call $subscribe (i64.const 1))) (br $l)) unreachable");
    let linked = engine.linked(&text, LINK_WASI, ENTRY_AGENT);
    // First the host's table, then Wasmtime's own.
    run(&linked, &mut User::default(), |_| ()).expect_failure(FailureKind::LimitHandles);
    run(&linked, &mut User::default(), |c| c.handles_max = 1_000_000)
        .expect_failure(FailureKind::LimitHandles);
}

#[test]
fn random_bytes_of_components_are_limited() {
    let engine = Engine::new(&engine_config());
    let text = agent_with(
        r#"(import "wasi:random/random@0.2.0" (instance $random
          (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))"#,
        r#"(import "host" "random" (func $random (param i64 i32)))"#,
        r#"(core func $r (canon lower (func $random "get-random-bytes") (memory (core memory $libc "memory"))
             (realloc (core func $libc "realloc"))))
           (core instance $host (export "random" (func $r)))"#,
        "(call $random (i64.const 1000) (i32.const 32)) (call $ok (local.get $p) (local.get $n))",
    );
    let linked = engine.linked(&text, LINK_WASI, ENTRY_AGENT);
    run(&linked, &mut User::default(), |_| ()).expect(OutcomeKind::Ok);
    run(&linked, &mut User::default(), |c| c.random_bytes_max = 999)
        .expect_failure(FailureKind::LimitHostcall);
}

/// A wasi:cli/run command whose `run` is `body` and may print.
fn command(body: &str) -> String {
    format!(
        r#"(component
  (import "wasi:io/error@0.2.0" (instance $err (export "error" (type (sub resource)))))
  (alias export $err "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $os (sub resource)))
    (alias outer 1 $error (type $e0))
    (export "error" (type $e (eq $e0)))
    (type $se0 (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $se (eq $se0)))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $os)) (param "contents" (list u8)) (result (result (error $se)))))
    (export "[method]output-stream.check-write"
      (func (param "self" (borrow $os)) (result (result u64 (error $se)))))))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output (type $o0))
    (export "output-stream" (type $o (eq $o0)))
    (export "get-stdout" (func (result (own $o))))))
  (import "wasi:cli/exit@0.2.0" (instance $exit
    (export "exit" (func (param "status" (result))))))
  (core module $libc (memory (export "memory") 1) (data (i32.const 64) "hello\n"))
  (core instance $libc (instantiate $libc))
  (core func $get (canon lower (func $stdout "get-stdout")))
  (core func $write (canon lower
    (func $streams "[method]output-stream.blocking-write-and-flush") (memory (core memory $libc "memory"))))
  (core func $check (canon lower
    (func $streams "[method]output-stream.check-write") (memory (core memory $libc "memory"))))
  (core func $exit (canon lower (func $exit "exit")))
  (core instance $host (export "get" (func $get)) (export "write" (func $write))
    (export "check" (func $check)) (export "exit" (func $exit)))
  (core module $m
    (import "libc" "memory" (memory 1))
    (import "host" "get" (func $get (result i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "host" "check" (func $check (param i32 i32)))
    (import "host" "exit" (func $exit (param i32)))
    (global $out (mut i32) (i32.const 0))
    (func $print (call $write (global.get $out) (i32.const 64) (i32.const 6) (i32.const 0)))
    (func (export "run") (result i32) (global.set $out (call $get)) {body}))
  (core instance $i (instantiate $m
    (with "libc" (instance $libc)) (with "host" (instance $host))))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.3" (instance $cli)))"#
    )
}

#[test]
fn a_command_component_prints_and_exits() {
    let engine = Engine::new(&engine_config());
    let go = |body: &str, user: &mut User| {
        run(&engine.linked(&command(body), LINK_WASI, ENTRY_COMMAND), user, |_| ())
    };
    let mut user = User::default();
    go("(call $print) (i32.const 0)", &mut user).expect(OutcomeKind::Ok);
    assert_eq!(user.out, b"hello\n");
    let ended = go("(i32.const 1)", &mut user);
    ended.expect(OutcomeKind::Exit);
    assert_eq!(ended.exit_status, 1);
    let ended = go("(call $exit (i32.const 1)) (i32.const 0)", &mut user);
    ended.expect(OutcomeKind::Exit);
    assert_eq!(ended.exit_status, 1);
    go("(call $exit (i32.const 0)) (i32.const 1)", &mut user).expect(OutcomeKind::Ok);
    let mut user = User { out_max: Some(60), ..User::default() };
    go("(loop $l (call $print) (br $l)) (i32.const 0)", &mut user)
        .expect_failure(FailureKind::Stopped);
    // check-write permits 64 KiB, never more.
    let ended = go(
        "(call $check (global.get $out) (i32.const 0)) (i64.ne (i64.load (i32.const 8)) (i64.const 65536))",
        &mut User::default(),
    );
    ended.expect(OutcomeKind::Ok);
}

#[test]
fn an_agent_that_exits_has_failed() {
    let engine = Engine::new(&engine_config());
    let text = agent_with(
        r#"(import "wasi:cli/exit@0.2.0" (instance $exit
             (export "exit" (func (param "status" (result))))))"#,
        r#"(import "host" "exit" (func $exit (param i32)))"#,
        r#"(core func $e (canon lower (func $exit "exit")))
           (core instance $host (export "exit" (func $e)))"#,
        "(call $exit (i32.const 1)) (i32.const 16)",
    );
    let linked = engine.linked(&text, LINK_WASI, ENTRY_AGENT);
    let ended = run(&linked, &mut User::default(), |_| ());
    ended.expect_failure(FailureKind::Exit);
    assert_eq!(ended.failure.exit_status, 1);
}

#[test]
fn sockets_are_linked_only_when_asked_for() {
    let engine = Engine::new(&engine_config());
    let text = r#"(component (import "wasi:sockets/network@0.2.0"
        (instance (export "network" (type (sub resource))))))"#;
    let program = engine.program(text).unwrap();
    let link = |flags| program.link(flags, ENTRY_COMMAND).err().unwrap();
    assert!(link(LINK_WASI).is(FailureKind::Link));
    assert!(link(LINK_WASI | LINK_SOCKETS).is(FailureKind::NoExport));
}
