;; SPDX-License-Identifier: Apache-2.0
;; Waits on four billion subscriptions that do not fit its memory.
;; code: guest-trap
;; options: --deadline 5s
(module
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (call $poll_oneoff (i32.const 0) (i32.const 128) (i32.const -1) (i32.const 512))
      (then (unreachable)))))
