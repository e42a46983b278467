;; SPDX-License-Identifier: Apache-2.0
;; A command with a memory of 64-bit addresses: grows past 4 GiB, writes and reads there. Exits
;; with 1 where the growth was denied, with 2 where a byte is not what was written.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") i64 1)
  (func $page (param $n i64) (result i64)
    (i64.shl (local.get $n) (i64.const 16)))
  (func $check (param $at i64)
    (i64.store (local.get $at) (i64.add (local.get $at) (i64.const 1)))
    (if (i64.ne (i64.load (local.get $at)) (i64.add (local.get $at) (i64.const 1)))
      (then (call $exit (i32.const 2)))))
  (func (export "_start")
    (if (i64.eq (memory.grow (i64.const 65600)) (i64.const -1))
      (then (call $exit (i32.const 1))))
    (call $check (i64.const 8))
    (call $check (call $page (i64.const 65536)))
    (call $check (call $page (i64.const 65600)))))
