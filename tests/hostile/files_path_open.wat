;; SPDX-License-Identifier: Apache-2.0
;; Tries every small descriptor as a folder and /etc/passwd in it; nothing is granted, so every
;; try is a bad descriptor or not a folder.
;; code: guest-exit
;; options: --deadline 5s
;; exit: 44
;; guest-exit: 44
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get"
    (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "etc/passwd")
  (func (export "_start") (local $fd i32)
    (loop $next
      (if (i32.eqz (call $path_open (local.get $fd) (i32.const 0) (i32.const 64) (i32.const 10)
          (i32.const 0) (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 0)))
        (then (unreachable)))
      (if (i32.eqz (call $fd_prestat_get (local.get $fd) (i32.const 16)))
        (then (unreachable)))
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $fd) (i32.const 64))))
    (call $proc_exit (i32.const 44))))
