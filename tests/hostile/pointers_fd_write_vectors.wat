;; SPDX-License-Identifier: Apache-2.0
;; Hands the host a list of vectors that lies outside its memory.
;; code: guest-trap
;; options: --deadline 5s
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (call $fd_write (i32.const 1) (i32.const 65535) (i32.const 100000) (i32.const 8))
      (then (unreachable)))))
