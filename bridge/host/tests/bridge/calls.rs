// SPDX-License-Identifier: Apache-2.0
//! Calls from begin to end: answers, time, dropping, panics.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use glovebox_bridge_host::call::panic_at_next_tick;
use glovebox_bridge_host::fail::{FailureKind, TrapKind};
use glovebox_bridge_host::ffi::*;

use crate::fixture::*;

const LOOP: &str = "(loop $l (br $l)) unreachable";

#[test]
fn an_agent_answers_ok_and_err() {
    let engine = Engine::new(&engine_config());
    let echo = engine.linked(&agent(ECHO), 0, ENTRY_AGENT);
    let ended = run(&echo, &mut User::default(), |c| c.argument = Span::new("grüß".as_bytes()));
    assert_eq!(ended.expect(OutcomeKind::Ok), "grüß");

    let refuse = engine.linked(&agent("(call $err (local.get $p) (local.get $n))"), 0, ENTRY_AGENT);
    let ended = run(&refuse, &mut User::default(), |c| c.argument = Span::new(b"no"));
    assert_eq!(ended.expect(OutcomeKind::Err), "no");
    // An empty answer is an empty string.
    let ended = run(&echo, &mut User::default(), |_| ());
    assert_eq!(ended.expect(OutcomeKind::Ok), "");
}

#[test]
fn programs_engines_and_links_may_be_freed_before_the_call() {
    let engine = Engine::new(&engine_config());
    let linked = engine.linked(&agent(ECHO), 0, ENTRY_AGENT); // its program is freed here
    let mut user = User::default();
    let mut call = Call::new(&linked, &mut user, |c| c.argument = Span::new(b"x")).unwrap();
    drop(linked);
    assert_eq!(call.finish().expect(OutcomeKind::Ok), "x");
}

#[test]
fn an_endless_loop_yields_and_is_stopped_by_the_tick() {
    let engine = Engine::new(&engine_config());
    let linked = engine.linked(&agent(LOOP), 0, ENTRY_AGENT);
    let mut user = User { stop_at_tick: Some(10), ..User::default() };
    let ended = run(&linked, &mut user, |_| ());
    ended.expect_failure(FailureKind::Stopped);
    assert!(ended.polls >= 10, "it yielded at every tick: {} polls", ended.polls);
    assert!(ended.failure.backtrace.contains("run") || !ended.failure.backtrace.is_empty());
}

#[test]
fn two_endless_loops_share_one_thread() {
    let engine = Engine::new(&engine_config());
    let linked = engine.linked(&agent(LOOP), 0, ENTRY_AGENT);
    let mut users = [User::default(), User::default()];
    let [a, b] = &mut users;
    let mut a = Call::new(&linked, a, |_| ()).unwrap();
    let mut b = Call::new(&linked, b, |_| ()).unwrap();
    for _ in 0..10 {
        assert!(a.poll().is_none());
        assert!(b.poll().is_none());
    }
    drop((a, b));
    assert!(users.iter().all(|u| u.ticks >= 10));
}

#[test]
fn a_call_dropped_in_mid_flight_leaves_the_engine_serving() {
    let engine = Engine::new(&pooling_config());
    let spin = engine.linked(&agent(LOOP), 0, ENTRY_AGENT);
    let echo = engine.linked(&agent(ECHO), 0, ENTRY_AGENT);
    for _ in 0..20 {
        // More often than the pool has slots, so a leaked one would show.
        let mut user = User::default();
        let mut call = Call::new(&spin, &mut user, |_| ()).unwrap();
        assert!(call.poll().is_none());
        let wakes = call.wakes.clone();
        drop(call);
        assert_eq!(wakes.releases.load(SeqCst), 1);
    }
    run(&echo, &mut User::default(), |_| ()).expect(OutcomeKind::Ok);
    // Never polled at all.
    let mut user = User::default();
    let wakes = Call::new(&echo, &mut user, |_| ()).unwrap().wakes.clone();
    assert_eq!(wakes.releases.load(SeqCst), 1);
}

#[test]
fn a_panic_in_the_bridge_is_a_failure_and_the_engine_serves_on() {
    let engine = Engine::new(&pooling_config());
    let linked = engine.linked(&agent(LOOP), 0, ENTRY_AGENT);
    let mut user = User::default();
    let mut call = Call::new(&linked, &mut user, |_| ()).unwrap();
    assert!(call.poll().is_none());
    panic_at_next_tick();
    let ended = call.finish();
    ended.expect_failure(FailureKind::Panic);
    assert!(ended.failure.message.contains("asked for by a test"));
    drop(call);
    let echo = engine.linked(&agent(ECHO), 0, ENTRY_AGENT);
    run(&echo, &mut User::default(), |_| ()).expect(OutcomeKind::Ok);
}

/// Each parameter of the function is a pair of the one before: 30 of them, shown as C++, would take
/// gigabytes.
#[test]
fn names_of_functions_are_shown_as_they_are() {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let pair = |i: usize| format!("S_IS{0}_S{0}_E", DIGITS[i] as char);
    let name: String = "_Z1f1PI1AS0_E".to_owned() + &(1..30).map(pair).collect::<String>();
    let body = format!(
        "(call $bomb) (unreachable)) (func $bomb (@name \"{name}\") (unreachable)"
    );
    let engine = Engine::new(&engine_config());
    let linked = engine.linked(&agent(&body), 0, ENTRY_AGENT);
    let ended = run(&linked, &mut User::default(), |_| ());
    ended.expect_failure(FailureKind::Trap);
    assert!(ended.failure.backtrace.contains("!_Z1f1PI1AS0_E"), "{ended:?}");
    assert!(!ended.failure.message.contains("_Z1f"), "{ended:?}");
}

#[test]
fn traps_are_named_and_carry_a_backtrace() {
    let engine = Engine::new(&engine_config());
    let trap = |body: &str, trap: TrapKind| {
        let linked = engine.linked(&agent(body), 0, ENTRY_AGENT);
        let ended = run(&linked, &mut User::default(), |_| ());
        ended.expect_failure(FailureKind::Trap);
        assert_eq!(ended.failure.trap, trap as u32, "{body}: {ended:?}");
        assert!(!ended.failure.backtrace.is_empty(), "{body}");
    };
    trap("unreachable", TrapKind::Unreachable);
    trap("(i32.load (i32.const -8))", TrapKind::MemoryOutOfBounds);
    trap("(i32.div_u (local.get $p) (i32.const 0))", TrapKind::Other);
    // The answer's pointer lies outside memory: no guest frame, and still the guest's fault.
    let linked = engine.linked(&agent("(i32.const -16)"), 0, ENTRY_AGENT);
    let ended = run(&linked, &mut User::default(), |_| ());
    ended.expect_failure(FailureKind::Trap);
    let text = agent_with(
        "",
        r#"(data (i32.const 64) "\ff")"#,
        "",
        "(call $ok (i32.const 64) (i32.const 1))",
    );
    run(&engine.linked(&text, 0, ENTRY_AGENT), &mut User::default(), |_| ())
        .expect_failure(FailureKind::Trap);
}

#[test]
fn deep_recursion_is_a_stack_overflow() {
    let engine = Engine::new(&engine_config());
    let module = "(func $down (param i32) (result i32)
        (i32.add (call $down (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))";
    let text = agent_with("", module, "", "(call $down (i32.const 0))");
    let linked = engine.linked(&text, 0, ENTRY_AGENT);
    let ended = run(&linked, &mut User::default(), |_| ());
    ended.expect_failure(FailureKind::Trap);
    assert_eq!(ended.failure.trap, TrapKind::StackOverflow as u32);
}

#[test]
fn fuel_runs_out_and_what_is_left_is_told() {
    let engine = Engine::new(&EngineConfig { fuel: true, ..engine_config() });
    let linked = engine.linked(&agent(LOOP), 0, ENTRY_AGENT);
    let ended = run(&linked, &mut User::default(), |c| c.fuel = 100_000);
    ended.expect_failure(FailureKind::Trap);
    assert_eq!(ended.failure.trap, TrapKind::OutOfFuel as u32);
    assert_eq!(ended.fuel_left, 0);

    let linked = engine.linked(&agent(ECHO), 0, ENTRY_AGENT);
    let ended = run(&linked, &mut User::default(), |c| c.fuel = 100_000);
    ended.expect(OutcomeKind::Ok);
    assert!((90_000..100_000).contains(&ended.fuel_left), "{}", ended.fuel_left);
}

#[test]
fn the_tick_sees_the_fuel() {
    let engine = Engine::new(&EngineConfig { fuel: true, ..engine_config() });
    let linked = engine.linked(&agent(LOOP), 0, ENTRY_AGENT);
    let mut user = User { stop_at_tick: Some(3), ..User::default() };
    let ended = run(&linked, &mut user, |c| c.fuel = u64::MAX / 2);
    ended.expect_failure(FailureKind::Stopped);
    assert!(user.fuel_left > 0 && user.fuel_left < u64::MAX / 2);
}

#[test]
fn a_call_may_move_between_threads() {
    let engine = Engine::new(&engine_config());
    let linked = engine.linked(&agent(LOOP), 0, ENTRY_AGENT);
    let mut user = User { stop_at_tick: Some(8), ..User::default() };
    let call = Call::new(&linked, &mut user, |_| ()).unwrap();
    let mut address = call.raw as usize;
    let wakes = call.wakes.clone();
    std::mem::forget(call);
    for last in [false, false, false, true] {
        let wakes = wakes.clone();
        let hop = std::thread::spawn(move || {
            let mut call = Call { raw: address as *mut _, wakes };
            if last {
                call.finish().expect_failure(FailureKind::Stopped);
                return 0;
            }
            assert!(call.poll().is_none());
            let raw = call.raw as usize;
            std::mem::forget(call);
            raw
        });
        address = hop.join().unwrap();
    }
    assert!(user.ticks >= 8);
}

#[test]
fn an_argument_that_is_not_text_is_refused() {
    let engine = Engine::new(&engine_config());
    let linked = engine.linked(&agent(ECHO), 0, ENTRY_AGENT);
    let refused = Call::new(&linked, &mut User::default(), |c| c.argument = Span::new(b"\xff"));
    let Err(failed) = refused else { panic!("accepted") };
    assert!(failed.is(FailureKind::Config), "{failed:?}");
}

/// `cargo test --release -- --ignored --nocapture bench`
#[test]
#[ignore = "a measurement"]
fn bench_a_pooled_agent_call() {
    let engine = Engine::new(&pooling_config());
    let bare = engine.linked(&agent(ECHO), 0, ENTRY_AGENT);
    let wasi = engine.linked(&agent(ECHO), LINK_WASI | LINK_NN_1028, ENTRY_AGENT);
    let plain = Engine::new(&engine_config());
    let unpooled = plain.linked(&agent(ECHO), 0, ENTRY_AGENT);
    for (name, linked) in [("pooled", &bare), ("pooled+wasi", &wasi), ("on demand", &unpooled)] {
        let mut best = Duration::MAX;
        for _ in 0..10 {
            let start = Instant::now();
            for _ in 0..2000 {
                let mut user = User::default();
                let mut call =
                    Call::new(linked, &mut user, |c| c.argument = Span::new(b"hello")).unwrap();
                call.finish().expect(OutcomeKind::Ok);
            }
            best = best.min(start.elapsed() / 2000);
        }
        println!("{name}: {:.1} µs per call", best.as_nanos() as f64 / 1000.0);
    }
}
