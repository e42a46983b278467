// SPDX-License-Identifier: Apache-2.0
//! Every limit has its own kind of failure. The texts that `fail.rs` knows are pinned here.

use glovebox_bridge_host::fail::FailureKind;
use glovebox_bridge_host::ffi::*;

use crate::fixture::*;

const PAGE: u64 = 65536;

#[test]
fn growth_past_the_limit_is_denied_and_the_guest_goes_on() {
    let engine = Engine::new(&engine_config());
    let text = agent(
        "(if (result i32) (i32.eq (memory.grow (i32.const 100)) (i32.const -1))
           (then (call $err (local.get $p) (local.get $n)))
           (else (call $ok (local.get $p) (local.get $n))))",
    );
    let linked = engine.linked(&text, 0, ENTRY_AGENT);
    let mut user = User { memory_max: Some(50 * PAGE), ..User::default() };
    run(&linked, &mut user, |_| ()).expect(OutcomeKind::Err);
    assert_eq!(user.memory, PAGE);
    let mut user = User { memory_max: Some(101 * PAGE), ..User::default() };
    run(&linked, &mut user, |_| ()).expect(OutcomeKind::Ok);
    assert_eq!(user.memory, 101 * PAGE);
}

#[test]
fn a_growth_beyond_all_bounds_fails_without_having_been_asked_for() {
    let engine = Engine::new(&engine_config());
    let text =
        agent("(drop (memory.grow (i32.const 65536))) (call $ok (local.get $p) (local.get $n))");
    let linked = engine.linked(&text, 0, ENTRY_AGENT);
    let mut user = User { memory_max: Some(10 * PAGE), ..User::default() };
    run(&linked, &mut user, |_| ()).expect(OutcomeKind::Ok);
    assert_eq!(user.memory, PAGE);
}

fn module(fields: &str) -> String {
    format!("(module {fields} (func (export \"_start\")))")
}

fn start(
    engine: &Engine,
    text: &str,
    user: &mut User,
    change: impl FnOnce(&mut CallConfig),
) -> Ended {
    run(&engine.linked(text, 0, ENTRY_START), user, change)
}

#[test]
fn an_initial_memory_or_table_past_the_limit_has_its_own_kind() {
    for config in [engine_config(), pooling_config()] {
        let engine = Engine::new(&config);
        let mut user = User { memory_max: Some(10 * PAGE), ..User::default() };
        start(&engine, &module("(memory 20)"), &mut user, |_| ())
            .expect_failure(FailureKind::LimitMemory);
        let mut user = User { table_max: Some(10), ..User::default() };
        start(&engine, &module("(table 20 funcref)"), &mut user, |_| ())
            .expect_failure(FailureKind::LimitTable);
    }
}

#[test]
fn counts_per_store_are_limited() {
    let engine = Engine::new(&engine_config());
    let mut user = User::default();
    let text = module("(memory 0) (table 0 funcref)");
    start(&engine, &text, &mut user, |c| c.memories_max = 0)
        .expect_failure(FailureKind::LimitInstances);
    start(&engine, &text, &mut user, |c| c.tables_max = 0)
        .expect_failure(FailureKind::LimitInstances);
    start(&engine, &text, &mut user, |c| c.instances_max = 0)
        .expect_failure(FailureKind::LimitInstances);
    let linked = engine.linked(&agent(ECHO), 0, ENTRY_AGENT);
    run(&linked, &mut user, |c| c.instances_max = 1).expect_failure(FailureKind::LimitInstances);
}

#[test]
fn a_full_pool_is_told_apart() {
    let engine = Engine::new(&EngineConfig { pool_calls: 1, ..pooling_config() });
    let spin = engine.linked(&agent("(loop $l (br $l)) unreachable"), 0, ENTRY_AGENT);
    let echo = engine.linked(&agent(ECHO), 0, ENTRY_AGENT);
    let mut user = User::default();
    let mut busy = Call::new(&spin, &mut user, |_| ()).unwrap();
    assert!(busy.poll().is_none());
    run(&echo, &mut User::default(), |_| ()).expect_failure(FailureKind::PoolFull);
    drop(busy);
    run(&echo, &mut User::default(), |_| ()).expect(OutcomeKind::Ok);
    // Core modules need a stack and a memory of the pool as well.
    let spin = engine.linked(
        "(module (memory 1) (func (export \"_start\") (loop $l (br $l))))",
        0,
        ENTRY_START,
    );
    let mut user = User::default();
    let mut busy = Call::new(&spin, &mut user, |_| ()).unwrap();
    assert!(busy.poll().is_none());
    run(&echo, &mut User::default(), |_| ()).expect_failure(FailureKind::PoolFull);
}

#[test]
fn a_program_too_big_for_the_pool_is_refused_when_it_is_compiled() {
    let engine = Engine::new(&EngineConfig {
        core_instances_per_call_max: 1,
        memories_per_call_max: 1,
        tables_per_call_max: 1,
        ..pooling_config()
    });
    let refused = |text: &str, kind: FailureKind| {
        let Err(failed) = engine.program(text) else { panic!("accepted: {text}") };
        assert!(failed.is(kind), "{text}: {failed:?}");
    };
    refused(&module("(memory 1000)"), FailureKind::LimitMemory);
    refused(&module("(table 5000 funcref)"), FailureKind::LimitTable);
    refused(&module("(table 1 funcref) (table 1 funcref)"), FailureKind::LimitInstances);
    refused(&agent(ECHO), FailureKind::LimitInstances);
    let two = "(core module $m (memory 1)) (core instance (instantiate $m))";
    refused(
        &format!("(component {two} (core instance (instantiate $m)))"),
        FailureKind::LimitInstances,
    );
    let globals = "(global (mut v128) (v128.const i32x4 0 0 0 0))".repeat(70_000);
    refused(&module(&globals), FailureKind::LimitInstances);
}

#[test]
fn a_start_function_is_limited_like_everything_else() {
    let engine = Engine::new(&engine_config());
    let text = "(module (func $f (loop $l (br $l))) (start $f) (func (export \"_start\")))";
    let mut user = User { stop_at_tick: Some(3), ..User::default() };
    let ended = start(&engine, text, &mut user, |_| ());
    ended.expect_failure(FailureKind::Stopped);
    assert_eq!(ended.instantiate_us, 0);

    let text = "(module (memory 1)
        (func $f (if (i32.eq (memory.grow (i32.const 9)) (i32.const -1)) (then unreachable)))
        (start $f) (func (export \"_start\")))";
    let mut user = User { memory_max: Some(5 * PAGE), ..User::default() };
    start(&engine, text, &mut user, |_| ()).expect_failure(FailureKind::Trap);
}

#[test]
fn an_answer_past_the_limit_is_not_copied() {
    let engine = Engine::new(&engine_config());
    let text = agent(
        "(drop (memory.grow (i32.const 200))) (call $ok (i32.const 4096) (i32.const 10000000))",
    );
    let linked = engine.linked(&text, 0, ENTRY_AGENT);
    let ended = run(&linked, &mut User::default(), |c| c.hostcall_bytes_max = 1 << 30);
    ended.expect_failure(FailureKind::LimitAnswer);
    // Longer than a host call may carry at all: the same kind.
    run(&linked, &mut User::default(), |_| ()).expect_failure(FailureKind::LimitAnswer);
    let ended = run(&linked, &mut User::default(), |c| {
        (c.hostcall_bytes_max, c.answer_bytes_max) = (1 << 30, 10_000_000);
    });
    assert_eq!(ended.expect(OutcomeKind::Ok).len(), 10_000_000);
}

#[test]
fn engines_that_cannot_be_are_refused() {
    let Err(failed) = Engine::try_new(&EngineConfig { async_stack_bytes: 1, ..engine_config() })
    else {
        panic!("accepted");
    };
    assert!(failed.is(FailureKind::Config), "{failed:?}");
    let huge = EngineConfig {
        pool_memories: 100_000,
        memory_reservation_bytes: 4 << 30,
        ..pooling_config()
    };
    let Err(failed) = Engine::try_new(&huge) else { panic!("accepted") };
    assert!(failed.is(FailureKind::AddressSpace), "{failed:?}");
}

#[test]
fn a_memory_that_cannot_be_reserved_is_told_apart() {
    let config = EngineConfig { memory_reservation_bytes: 1 << 47, ..engine_config() };
    let engine = Engine::new(&config);
    start(&engine, &module("(memory 1)"), &mut User::default(), |_| ())
        .expect_failure(FailureKind::AddressSpace);
}
