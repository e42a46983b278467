;; SPDX-License-Identifier: Apache-2.0
;; One write of 65,536 vectors that all name the same 4 KiB: 256 MiB from 1 MiB of memory.
;; code: output-limit
;; options: --deadline 5s
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 16)
  (func (export "_start") (local $at i32)
    (loop $next
      (i32.store (i32.add (local.get $at) (i32.const 8192)) (i32.const 64))
      (i32.store offset=4 (i32.add (local.get $at) (i32.const 8192)) (i32.const 4096))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 524288))))
    (loop $again
      (drop (call $fd_write (i32.const 1) (i32.const 8192) (i32.const 65536) (i32.const 8)))
      (br $again))))
