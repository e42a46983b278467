// SPDX-License-Identifier: Apache-2.0
//! The TOML walk: order, paths, positions, and hostile documents.

use std::ffi::{CStr, c_char, c_void};

use glovebox_bridge_host::text::*;

struct Seen {
    lines: Vec<String>,
    stop_after: usize,
}

unsafe extern "C" fn see(user: *mut c_void, value: *const GbtValue) -> bool {
    let (seen, v) = unsafe { (&mut *user.cast::<Seen>(), &*value) };
    let text = |ptr: *const c_char, len| {
        let bytes = unsafe { std::slice::from_raw_parts(ptr.cast::<u8>(), len) };
        std::str::from_utf8(bytes).unwrap().to_owned()
    };
    let kind = ["str", "int", "float", "bool", "date", "table", "array"][v.kind as usize];
    let mut line = format!("{}:{} {} {kind}", v.line, v.column, text(v.path, v.path_len));
    match v.kind {
        1 | 3 => line += &format!(" {} {}", text(v.text, v.text_len), v.integer),
        2 => line += &format!(" {} {}", text(v.text, v.text_len), v.number),
        _ => line += &format!(" {}", text(v.text, v.text_len)),
    }
    seen.lines.push(line.trim_end().to_owned());
    seen.lines.len() < seen.stop_after
}

fn walk(text: &[u8]) -> (u32, Vec<String>, String) {
    walk_until(text, usize::MAX)
}

fn walk_until(text: &[u8], stop_after: usize) -> (u32, Vec<String>, String) {
    let mut seen = Seen { lines: Vec::new(), stop_after };
    let mut message = [0x7f as c_char; 200];
    let (mut line, mut column) = (0, 0);
    let status = unsafe {
        gbt_toml_walk(
            text.as_ptr(),
            text.len(),
            Some(see),
            (&raw mut seen).cast(),
            message.as_mut_ptr(),
            message.len(),
            &mut line,
            &mut column,
        )
    };
    let error = if status == 1 {
        let text = unsafe { CStr::from_ptr(message.as_ptr()) }.to_str().unwrap().to_owned();
        assert!(!text.contains('\n'));
        format!("{line}:{column} {text}")
    } else {
        String::new()
    };
    (status, seen.lines, error)
}

#[test]
fn values_come_in_order_with_their_positions() {
    let text = r#"# settings
listen = "127.0.0.1:8080"
näme = 1
ratio = 2.5e1
on = true
since = 2026-11-21

[tenant.acme.limits]
memory = "1GiB" # a comment
a.b = 0x10

[[route]]
path = "/a"
[[route]]
path = "/b"
tags = ["x", { y = 2 }]
"quo.ted" = 'lit'
"#;
    let (status, lines, error) = walk(text.replace("näme", "\"näme\"").as_bytes());
    assert_eq!(status, 0, "{error}");
    assert_eq!(
        lines,
        [
            "2:1 listen str 127.0.0.1:8080",
            "3:1 \"näme\" int 1 1",
            "4:1 ratio float 2.5e1 25",
            "5:1 on bool true 1",
            "6:1 since date 2026-11-21",
            "8:2 tenant table",
            "8:9 tenant.acme table",
            "8:14 tenant.acme.limits table",
            "9:1 tenant.acme.limits.memory str 1GiB",
            "10:1 tenant.acme.limits.a table",
            "10:3 tenant.acme.limits.a.b int 0x10 16",
            "12:3 route array",
            "12:1 route[0] table",
            "13:1 route[0].path str /a",
            "14:1 route[1] table",
            "15:1 route[1].path str /b",
            "16:1 route[1].tags array [\"x\", { y = 2 }]",
            "16:9 route[1].tags[0] str x",
            "16:14 route[1].tags[1] table { y = 2 }",
            "16:16 route[1].tags[1].y int 2 2",
            "17:1 route[1].\"quo.ted\" str lit",
        ]
    );
}

#[test]
fn columns_count_characters() {
    let (_, lines, _) = walk("a = [\"ä\", \"öö\", 3]\r\nb = 1".as_bytes());
    assert_eq!(
        lines[1..],
        ["1:6 a[0] str ä", "1:11 a[1] str öö", "1:17 a[2] int 3 3", "2:1 b int 1 1"]
    );
}

#[test]
fn the_walk_stops_when_told() {
    let (status, lines, _) = walk_until(b"a = 1\nb = 2\nc = 3", 2);
    assert_eq!((status, lines.len()), (2, 2));
}

#[test]
fn syntax_errors_have_a_place() {
    let error = |text: &[u8]| {
        let (status, lines, error) = walk(text);
        assert_eq!(status, 1);
        assert!(lines.is_empty());
        error
    };
    assert!(error(b"a = 1\nb = = 2\n").starts_with("2:5 "), "{}", error(b"a = 1\nb = = 2\n"));
    assert!(error(b"a = 1\na = 2\n").starts_with("2:1 "), "{}", error(b"a = 1\na = 2\n"));
    assert!(error(b"a = 99999999999999999999\n").starts_with("1:5 "));
    assert!(error(b"[a\n").starts_with("1:"));
    assert_eq!(error(b"a = 1\nb = \"\xff\"\n"), "2:6 not UTF-8");
    assert_eq!(walk(b"").0, 0);
}

#[test]
fn hostile_documents_end_quickly() {
    let deep = format!("a = {}", "[".repeat(100_000));
    assert_eq!(walk(deep.as_bytes()).0, 1);
    let tables = format!("a = {}", "{a=".repeat(100_000));
    assert_eq!(walk(tables.as_bytes()).0, 1);
    let dotted = format!("{}a = 1", "a.".repeat(100_000));
    assert_eq!(walk(dotted.as_bytes()).0, 1);
    let header = format!("[{}a]", "a.".repeat(100_000));
    assert_eq!(walk(header.as_bytes()).0, 1);
    let wide = format!("a = [{}]", "1,".repeat(100_000));
    let (status, lines, _) = walk(wide.as_bytes());
    assert_eq!((status, lines.len()), (0, 100_001));
    assert_eq!(lines[100_000], "1:200004 a[99999] int 1 1");
}

#[test]
fn a_short_message_buffer_is_respected() {
    let mut message = [0x7f as c_char; 8];
    let (mut line, mut column) = (0, 0);
    let text = "ä = \"ö\" x";
    let status = unsafe {
        gbt_toml_walk(
            text.as_ptr(),
            text.len(),
            None,
            std::ptr::null_mut(),
            message.as_mut_ptr(),
            4,
            &mut line,
            &mut column,
        )
    };
    assert_eq!(status, 1);
    assert!(message[..4].contains(&0));
    assert_eq!(message[4..], [0x7f; 4]);
}
