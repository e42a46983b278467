// SPDX-License-Identifier: Apache-2.0
//! `wasi:http` through the bridge, with the guests of `build/guests` (tools/build-guests.sh).

use std::ffi::c_void;

use glovebox_bridge_host::fail::FailureKind;
use glovebox_bridge_host::ffi::*;

use crate::fixture::*;

/// The other side of an exchange.
#[derive(Default)]
pub struct Peer {
    body: Vec<u8>,
    pause: bool, // before the body's first bytes
    fail_body: bool,
    head: Vec<String>,
    status: u32,
    answer: Vec<u8>,
    room: Option<usize>,
    gone: bool,
    trailers: Vec<String>,
    ended: bool,
    asked: Vec<String>,
    charged: u64,
    peak: u64,
    charge_max: Option<u64>,
}

unsafe extern "C" fn request_body(
    u: *mut c_void,
    to: *mut u8,
    cap: usize,
    ret_len: *mut usize,
) -> u32 {
    let u = unsafe { user(u) };
    let peer = &mut u.http;
    if std::mem::take(&mut peer.pause) {
        u.nn.wakes.as_ref().expect("wakes").wake();
        return IO_PENDING;
    }
    if peer.body.is_empty() {
        return if peer.fail_body { IO_ERROR } else { IO_END };
    }
    let part: Vec<u8> = peer.body.drain(..peer.body.len().min(cap)).collect();
    unsafe {
        std::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
        ret_len.write(part.len());
    }
    IO_OK
}

unsafe extern "C" fn request_trailers(_: *mut c_void, ret: *mut *const Field, ret_len: *mut usize) {
    static TRAILER: [(&str, &str); 1] = [("x-last", "1")];
    let field = Field {
        key: Span::new(TRAILER[0].0.as_bytes()),
        value: Span::new(TRAILER[0].1.as_bytes()),
    };
    unsafe {
        ret.write(Box::leak(Box::new(field)));
        ret_len.write(1);
    }
}

fn texts(fields: *const Field, len: usize) -> Vec<String> {
    let text = |span: Span| String::from_utf8_lossy(unsafe { span.bytes() }).into_owned();
    unsafe { slice(fields, len) }
        .iter()
        .map(|field| format!("{}: {}", text(field.key), text(field.value)))
        .collect()
}

unsafe extern "C" fn response_head(
    u: *mut c_void,
    status: u32,
    fields: *const Field,
    len: usize,
) -> u32 {
    let peer = &mut unsafe { user(u) }.http;
    assert_eq!(peer.status, 0, "one head");
    peer.status = status;
    peer.head = texts(fields, len);
    IO_OK
}

unsafe extern "C" fn response_body(u: *mut c_void, bytes: Span, ret_taken: *mut usize) -> u32 {
    let peer = &mut unsafe { user(u) }.http;
    assert!(peer.status != 0 && !peer.ended && bytes.len > 0);
    if peer.gone {
        return IO_ERROR;
    }
    let len = bytes.len.min(peer.room.unwrap_or(usize::MAX));
    peer.room = peer.room.map(|room| room - len);
    peer.answer.extend_from_slice(&unsafe { bytes.bytes() }[..len]);
    unsafe { ret_taken.write(len) };
    if len == 0 { IO_PENDING } else { IO_OK }
}

unsafe extern "C" fn response_end(u: *mut c_void, fields: *const Field, len: usize) {
    let peer = &mut unsafe { user(u) }.http;
    assert!(peer.status != 0 && !peer.ended);
    peer.ended = true;
    peer.trailers = texts(fields, len);
}

unsafe extern "C" fn charge(u: *mut c_void, bytes: u64) -> bool {
    let peer = &mut unsafe { user(u) }.http;
    if peer.charge_max.is_some_and(|max| peer.charged + bytes > max) {
        return false;
    }
    peer.charged += bytes;
    peer.peak = peer.peak.max(peer.charged);
    true
}

unsafe extern "C" fn uncharge(u: *mut c_void, bytes: u64) {
    let peer = &mut unsafe { user(u) }.http;
    peer.charged = peer.charged.checked_sub(bytes).expect("no more than was charged");
}

unsafe extern "C" fn egress(u: *mut c_void, request: *const HttpRequest) -> u32 {
    let request = unsafe { &*request };
    let text = |span: Span| String::from_utf8_lossy(unsafe { span.bytes() }).into_owned();
    let (method, scheme) = (text(request.method), text(request.scheme));
    let asked = format!("{method} {scheme}://{}", text(request.authority));
    unsafe { user(u) }.http.asked.push(asked);
    0
}

pub fn host() -> Host {
    Host {
        http_request_body: Some(request_body),
        http_request_trailers: Some(request_trailers),
        http_response_head: Some(response_head),
        http_response_body: Some(response_body),
        http_response_end: Some(response_end),
        http_charge: Some(charge),
        http_uncharge: Some(uncharge),
        http_egress: Some(egress),
        ..crate::nn::host()
    }
}

const FLAGS: u32 = LINK_WASI | LINK_HTTP;

fn guest(engine: &Engine, name: &str) -> Program {
    let path = format!("{}/../../build/guests/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).expect("a guest: tools/build-guests.sh makes them");
    engine.program(bytes).unwrap_or_else(|f| panic!("compile: {f:?}"))
}

fn request(path: &str) -> HttpRequest {
    HttpRequest {
        method: Span::new(b"POST"),
        scheme: Span::new(b"https"),
        authority: Span::new(b"example.org"),
        path_with_query: Span::new(path.as_bytes()),
        fields: std::ptr::null(),
        fields_len: 0,
    }
}

#[track_caller]
fn exchange(name: &str, path: &str, peer: Peer) -> (Ended, Peer) {
    let engine = Engine::new(&pooling_config());
    let linked = guest(&engine, name).link(FLAGS, ENTRY_HTTP).expect("a link");
    let mut user = User { http: peer, ..User::default() };
    let request = request(path);
    let ended = run(&linked, &mut user, |config| config.http = &request);
    assert_eq!(user.http.charged, 0, "everything was given back");
    (ended, user.http)
}

#[test]
fn a_guest_answers() {
    let (ended, peer) = exchange("hello-http", "/", Peer::default());
    ended.expect(OutcomeKind::Ok);
    assert!(ended.instantiate_us > 0);
    assert_eq!(peer.status, 200);
    assert!(peer.ended && peer.head.contains(&"content-length: 32".to_owned()));
    assert_eq!(peer.answer, b"Hello from inside the glovebox.\n");
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let body: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
    let peer = Peer { body: body.clone(), pause: true, ..Peer::default() };
    let (ended, peer) = exchange("echo-http", "/x?y", peer);
    ended.expect(OutcomeKind::Ok);
    assert!(peer.answer == body && peer.ended);
    assert_eq!(peer.trailers, ["x-last: 1"]);
    for wanted in ["x-method: POST", "x-path: /x?y", "x-scheme: https", "x-authority: example.org"]
    {
        assert!(peer.head.contains(&wanted.to_owned()), "{:?}", peer.head);
    }
    assert!(peer.peak <= 4 << 16, "{}", peer.peak);
}

#[test]
fn a_broken_request_is_an_error_code() {
    let peer = Peer { body: vec![1; 10], fail_body: true, ..Peer::default() };
    let (ended, peer) = exchange("http-probe", "/body-error", peer);
    ended.expect(OutcomeKind::Ok);
    assert_eq!(peer.answer, b"connection-terminated\n");
}

#[test]
fn a_peer_that_has_gone_ends_the_writing() {
    let (ended, peer) = exchange("http-probe", "/flood", Peer { gone: true, ..Peer::default() });
    ended.expect(OutcomeKind::Ok);
    assert!(!peer.ended && peer.answer.is_empty());
}

#[test]
fn how_a_guest_can_fail() {
    use FailureKind::{HttpNoResponse, HttpUnfinished, LimitFields, Trap};
    let expected = [
        ("/none", HttpNoResponse, false),
        ("/drop", HttpNoResponse, false),
        ("/empty-short", HttpNoResponse, false),
        ("/unfinished", HttpUnfinished, true),
        ("/short", HttpUnfinished, true),
        ("/trap-after", Trap, false),
        ("/fields", LimitFields, false),
    ];
    for (path, kind, has_head) in expected {
        let (ended, peer) = exchange("http-probe", path, Peer::default());
        ended.expect_failure(kind);
        assert_eq!(peer.status != 0, has_head, "{path}");
        assert!(!peer.ended, "{path}");
    }
    let (ended, peer) = exchange("http-probe", "/error", Peer::default());
    assert_eq!(ended.expect(OutcomeKind::Err), "internal-error: out of cheese");
    assert_eq!(peer.status, 0);
}

#[test]
fn a_refused_charge_ends_the_call() {
    for path in ["/field-maps", "/bodies", "/trailer-maps"] {
        let peer = Peer { charge_max: Some(1 << 20), ..Peer::default() };
        let (ended, peer) = exchange("http-probe", path, peer);
        ended.expect_failure(FailureKind::Stopped);
        assert!(peer.peak > 900_000, "{path}: {}", peer.peak);
    }
}

#[test]
fn a_call_dropped_midway_gives_everything_back() {
    let engine = Engine::new(&pooling_config());
    let linked = guest(&engine, "http-probe").link(FLAGS, ENTRY_HTTP).expect("a link");
    let mut user = User { http: Peer { room: Some(1000), ..Peer::default() }, ..User::default() };
    let request = request("/flood");
    let mut call = Call::new(&linked, &mut user, |config| config.http = &request).expect("a call");
    for _ in 0..100 {
        assert!(call.poll().is_none());
    }
    drop(call);
    assert_eq!(user.http.answer.len(), 1000);
    assert!(user.http.peak >= 2 << 16 && user.http.peak <= 4 << 16, "{}", user.http.peak);
    assert_eq!(user.http.charged, 0);
}

#[test]
fn requests_of_the_guests_own_are_asked_of_c() {
    let engine = Engine::new(&pooling_config());
    let program = guest(&engine, "egress-http");
    let Err(failed) = program.link(FLAGS, ENTRY_HTTP) else { panic!("linked without egress") };
    assert!(failed.is(FailureKind::Link), "{failed:?}");
    let linked = program.link(FLAGS | LINK_EGRESS, ENTRY_HTTP).expect("a link");
    let mut user = User::default();
    let request = request("/");
    run(&linked, &mut user, |config| config.http = &request).expect(OutcomeKind::Ok);
    assert_eq!(user.http.answer, b"denied\n");
    assert_eq!(user.http.asked, ["GET https://example.org"]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let engine = Engine::new(&pooling_config());
    let agent =
        engine.program(agent("(call $ok (local.get $p) (local.get $n))")).expect("an agent");
    let Err(failed) = agent.link(FLAGS, ENTRY_HTTP) else { panic!("no handler, and linked") };
    assert!(failed.is(FailureKind::NoExport), "{failed:?}");
    assert!(failed.message.contains("wasi:http/incoming-handler"), "{failed:?}");
    let hello = guest(&engine, "hello-http");
    let hole = Host { http_charge: None, ..crate::fixture::host() };
    let Err(failed) = hello.link_host(FLAGS, ENTRY_HTTP, &hole) else { panic!("a hole") };
    assert!(failed.is(FailureKind::Config), "{failed:?}");
    let linked = hello.link(FLAGS, ENTRY_HTTP).expect("a link");
    let mut user = User::default();
    let mut bad = request("/");
    for change in [
        |r: &mut HttpRequest| r.path_with_query = Span::new(b"/a b"),
        |r: &mut HttpRequest| r.authority = Span::new(b""),
        |r: &mut HttpRequest| r.authority = Span::new(b"a/b"),
        |r: &mut HttpRequest| r.scheme = Span::new(b":"),
        |r: &mut HttpRequest| r.method = Span::new(b"G T"),
        |r: &mut HttpRequest| {
            r.path_with_query = Span::new(b"*");
            r.method = Span::new(b"");
        },
    ] {
        bad = HttpRequest { ..request("/") };
        change(&mut bad);
        let Err(failed) = Call::new(&linked, &mut user, |config| config.http = &bad) else {
            panic!("a bad request")
        };
        assert!(failed.is(FailureKind::HttpRequest), "{failed:?}");
    }
    let _ = bad;
}
