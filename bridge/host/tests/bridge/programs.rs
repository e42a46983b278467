// SPDX-License-Identifier: Apache-2.0
//! Compiling and linking: what is wrong with a program is said precisely.

use std::ffi::c_void;

use glovebox_bridge_host::fail::FailureKind;
use glovebox_bridge_host::ffi::*;
use glovebox_bridge_host::program::*;

use crate::fixture::*;

fn refused(engine: &Engine, bytes: &[u8], kind: FailureKind) -> String {
    let Err(failed) = engine.program(bytes) else { panic!("accepted {bytes:02x?}") };
    assert!(failed.is(kind), "{bytes:02x?}: {failed:?}");
    assert!(!failed.message.contains('\n'));
    failed.message
}

#[test]
fn broken_files_are_told_apart() {
    let engine = Engine::new(&engine_config());
    refused(&engine, b"", FailureKind::InvalidModule);
    refused(&engine, b"\0as", FailureKind::InvalidModule);
    refused(&engine, b"\0asm", FailureKind::InvalidModule);
    refused(&engine, b"\0asm\x01\0\0", FailureKind::InvalidModule);
    refused(&engine, b"\0asm\x09\0\0\0", FailureKind::InvalidModule);
    refused(&engine, b"\x7fELF\x02\x01\x01\0", FailureKind::InvalidModule);
    refused(&engine, b"\xff\xfe", FailureKind::InvalidModule);
    let message = refused(&engine, b"\0asm\x01\0\0\0\x01\x05\xff", FailureKind::InvalidModule);
    assert!(message.contains("offset"), "{message}");
    refused(&engine, b"\0asm\x0d\0\x01\0\x01\x05\xff", FailureKind::InvalidComponent);
    let message =
        refused(&engine, b"\0asm\x0d\0\x01\0\x07\x02\x01\x20", FailureKind::InvalidComponent);
    assert!(message.contains("offset"), "{message}");
    let message = refused(&engine, b"(module\n  (func (foo)))", FailureKind::InvalidText);
    assert!(message.starts_with("2:10: "), "{message}");
    refused(&engine, b"hello", FailureKind::InvalidText);
    // Text that parses and does not validate.
    refused(&engine, b"(module (func (result i32)))", FailureKind::InvalidModule);
    refused(&engine, b"(component (export \"x\" (func 0)))", FailureKind::InvalidComponent);
}

#[test]
fn every_truncation_of_a_component_is_refused_or_compiles() {
    let engine = Engine::new(&engine_config());
    let binary = wat::parse_str(agent(ECHO)).unwrap();
    assert!(engine.program(&binary).is_ok());
    for len in (0..binary.len()).step_by(7) {
        if let Err(failed) = engine.program(&binary[..len]) {
            let kinds = [FailureKind::InvalidModule, FailureKind::InvalidComponent];
            assert!(kinds.iter().any(|k| failed.is(*k)), "{len}: {failed:?}");
        }
    }
}

#[test]
fn features_agents_do_not_need_are_off() {
    let engine = Engine::new(&engine_config());
    let off = |text: &str| refused(&engine, text.as_bytes(), FailureKind::InvalidModule);
    refused(&engine, b"(module (memory i64 1))", FailureKind::NeedsMemory64);
    off("(module (memory 1 1 shared))");
    off("(module (func (param v128) (result v128)
        (i32x4.relaxed_trunc_f32x4_s (local.get 0))))");
    off("(module (type (struct)))");
    off("(module (tag))");
    off("(module (type $t (func)) (func (param (ref null $t))))");
    assert!(engine.program("(module (func (result v128) (v128.const i64x2 0 0)))").is_ok());
    let engine = Engine::new(&EngineConfig { memory64: true, ..engine_config() });
    assert!(engine.program("(module (memory i64 1))").is_ok());
}

#[test]
fn components_that_pass_strings_to_each_other_compile() {
    // Wasmtime makes adapters with several memories for this; the guest's own stay forbidden.
    let inner = agent(ECHO).replacen("(component", "(component $inner", 1);
    let text = format!(
        r#"(component {inner} (instance $a (instantiate $inner))
        (component $outer
          (import "run" (func $next (param "argument" string) (result (result string (error string)))))
          (core module $libc (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
          (core instance $libc (instantiate $libc))
          (core func $low (canon lower (func $next) (memory (core memory $libc "memory"))
            (realloc (core func $libc "realloc"))))
          (core module $m (import "h" "next" (func $n (param i32 i32 i32)))
            (func (export "run") (param i32 i32) (result i32)
              (call $n (local.get 0) (local.get 1) (i32.const 16)) (i32.const 16)))
          (core instance $i (instantiate $m (with "h" (instance (export "next" (func $low))))))
          (func (export "run") (param "argument" string) (result (result string (error string)))
            (canon lift (core func $i "run") (memory (core memory $libc "memory"))
              (realloc (core func $libc "realloc")))))
        (instance $b (instantiate $outer (with "run" (func $a "run"))))
        (export "run" (func $b "run")))"#
    );
    let engine = Engine::new(&engine_config());
    let linked = engine.linked(&text, 0, ENTRY_AGENT);
    let ended = run(&linked, &mut User::default(), |c| c.argument = Span::new(b"through"));
    assert_eq!(ended.expect(OutcomeKind::Ok), "through");
}

#[test]
fn a_missing_import_or_entry_is_a_failure_of_the_link() {
    let engine = Engine::new(&engine_config());
    let link = |text: &str, flags, entry| {
        engine.program(text).unwrap().link(flags, entry).err().expect("a failure")
    };
    let failed = link("(module (import \"env\" \"f\" (func)))", LINK_P1, ENTRY_START);
    assert!(failed.is(FailureKind::Link) && failed.message.contains("env"), "{failed:?}");
    let failed = link("(module)", LINK_P1, ENTRY_START);
    assert!(failed.is(FailureKind::NoExport), "{failed:?}");
    assert!(link("(module)", 0, ENTRY_AGENT).is(FailureKind::NoExport));
    let failed = link(
        r#"(component (import "a:b/c" (instance (export "f" (func)))))"#,
        LINK_WASI,
        ENTRY_AGENT,
    );
    assert!(failed.is(FailureKind::Link) && failed.message.contains("a:b/c"), "{failed:?}");
    assert!(link("(component)", 0, ENTRY_AGENT).is(FailureKind::NoExport));
    assert!(link("(component)", 0, ENTRY_COMMAND).is(FailureKind::NoExport));
    assert!(link(&agent(ECHO), 0, ENTRY_START).is(FailureKind::NoExport));
    let other =
        agent(ECHO).replace("(result string (error string))", "(result string (error u32))");
    if let Ok(program) = engine.program(&other) {
        let failed = program.link(0, ENTRY_AGENT).err().expect("a failure");
        assert!(failed.is(FailureKind::NoExport), "{failed:?}");
        assert!(failed.message.contains("result<string, u32>"), "{failed:?}");
    }
    let hole = Host { tick: None, ..host() };
    let failed =
        engine.program("(module)").unwrap().link_host(0, ENTRY_START, &hole).err().unwrap();
    assert!(failed.is(FailureKind::Config));
}

unsafe extern "C" fn collect(user: *mut c_void, item: *const Item) {
    let (lines, item) = unsafe { (&mut *user.cast::<Vec<String>>(), &*item) };
    let text = |s: Span| std::str::from_utf8(unsafe { s.bytes() }).unwrap().to_owned();
    lines.push(format!(
        "{} {}|{}|{}",
        item.kind,
        text(item.interface),
        text(item.name),
        text(item.ty)
    ));
}

fn items(program: &Program, imports: bool) -> Vec<String> {
    let mut lines = Vec::<String>::new();
    let user = (&raw mut lines).cast();
    unsafe {
        if imports {
            gbw_program_imports(program.0, Some(collect), user);
        } else {
            gbw_program_exports(program.0, Some(collect), user);
        }
    }
    lines
}

#[test]
fn imports_and_exports_are_listed_with_their_types() {
    let engine = Engine::new(&engine_config());
    let program = engine
        .program(
            r#"(component
            (import "wasi:nn/x@1.0.0" (instance
              (export "graph" (type $g (sub resource)))
              (type $e0 (enum "a" "b"))
              (export "kind" (type $e (eq $e0)))
              (export "[method]graph.go" (func (param "self" (borrow $g)) (param "k" $e)
                (result (result (own $g) (error string)))))
              (export "load" (func (param "b" (list (list u8))) (result (result (error u32)))))))
            (import "log" (func (param "at" (tuple u8 (option f32))))))"#,
        )
        .unwrap();
    assert!(unsafe { gbw_program_is_component(program.0) });
    assert_eq!(
        items(&program, true),
        [
            "2 wasi:nn/x@1.0.0||",
            "1 wasi:nn/x@1.0.0|graph|resource",
            "6 wasi:nn/x@1.0.0|kind|enum { a, b }",
            "0 wasi:nn/x@1.0.0|[method]graph.go|func(self: borrow<graph>, k: enum { a, b }) -> result<graph, string>",
            "0 wasi:nn/x@1.0.0|load|func(b: list<list<u8>>) -> result<_, u32>",
            "0 |log|func(at: tuple<u8, option<f32>>)",
        ]
    );
    let program = engine.program(agent(ECHO)).unwrap();
    assert_eq!(items(&program, false), ["0 |run|func(argument: string) -> result<string, string>"]);
    let program = engine
        .program(
            r#"(module (import "env" "f" (func (param i32 i64) (result f32)))
            (memory (export "memory") 1 16) (table (export "t") 2 funcref)
            (global (export "g") (mut i32) (i32.const 0)) (func (export "_start")))"#,
        )
        .unwrap();
    assert!(!unsafe { gbw_program_is_component(program.0) });
    assert_eq!(items(&program, true), ["0 env|f|(func (param i32) (param i64) (result f32))"]);
    assert_eq!(
        items(&program, false),
        [
            "3 |memory|(memory 1 16)",
            "4 |t|(table 2 funcref)",
            "5 |g|(global (mut i32))",
            "0 |_start|(func)"
        ]
    );
}

#[test]
fn a_type_that_doubles_at_every_step_has_a_short_text() {
    let mut types = "(type $t0 (tuple u8 u8))".to_owned();
    for i in 1..16 {
        types += &format!("(type $t{i} (tuple $t{} $t{}))", i - 1, i - 1);
    }
    let text = format!("(component {types} (import \"f\" (func (param \"p\" $t15))))");
    let engine = Engine::new(&engine_config());
    match engine.program(&text) {
        Ok(program) => {
            let lines = items(&program, true);
            assert!(lines[0].len() < 4300, "{} bytes", lines[0].len());
        }
        Err(failed) => assert!(failed.is(FailureKind::InvalidComponent), "{failed:?}"),
    }
}

#[test]
fn damaged_programs_never_panic_the_bridge() {
    let engine = Engine::new(&engine_config());
    let component = wat::parse_str(agent(ECHO)).unwrap();
    let module = wat::parse_str(
        "(module (memory 1) (table 2 funcref) (elem (i32.const 0) $f) (global (mut i32) (i32.const 1))
           (func $f (result i32) (block (result i32) (br 0 (i32.load (i32.const 4)))))
           (data (i32.const 0) \"abc\") (func (export \"_start\") (drop (call $f))))",
    )
    .unwrap();
    let mut seed = 1u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % below
    };
    for (original, flags, entry) in [(component, 0, ENTRY_AGENT), (module, LINK_P1, ENTRY_START)] {
        for _ in 0..300 {
            let mut bytes = original.clone();
            for _ in 0..=random(3) {
                let at = 8 + random(bytes.len() - 8);
                bytes[at] = random(256) as u8;
            }
            let failed = match engine.program(&bytes) {
                Ok(program) => match program.link(flags, entry) {
                    Ok(linked) => {
                        let mut user = User {
                            stop_at_tick: Some(3),
                            memory_max: Some(1 << 24),
                            table_max: Some(10_000),
                            ..User::default()
                        };
                        run(&linked, &mut user, |_| ()).failure
                    }
                    Err(failed) => failed,
                },
                Err(failed) => failed,
            };
            assert!(!failed.is(FailureKind::Panic), "{bytes:02x?}: {failed:?}");
            assert!(!failed.is(FailureKind::Internal), "{bytes:02x?}: {failed:?}");
        }
    }
}
