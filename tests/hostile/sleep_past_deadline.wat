;; SPDX-License-Identifier: Apache-2.0
;; Sleeps for ten minutes in one host call.
;; code: deadline-exceeded
;; options: --deadline 200ms
(module
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    ;; one subscription: clock (tag 0), monotonic (id 1), relative
    (i32.store offset=16 (i32.const 0) (i32.const 1))
    (i64.store offset=24 (i32.const 0) (i64.const 600000000000))
    (drop (call $poll_oneoff (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 512)))))
