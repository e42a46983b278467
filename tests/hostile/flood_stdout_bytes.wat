;; SPDX-License-Identifier: Apache-2.0
;; Writes to stdout for ever, one byte at a time.
;; code: output-limit
;; options: --deadline 10s
;; many: --output-limit 4KiB
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00")
  (func (export "_start")
    (i32.store (i32.const 4) (i32.const 1))
    (memory.fill (i32.const 16) (i32.const 120) (i32.const 1))
    (loop $again
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $again))))
