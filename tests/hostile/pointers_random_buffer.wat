;; SPDX-License-Identifier: Apache-2.0
;; Asks for random bytes outside its memory.
;; code: guest-trap
;; options: --deadline 5s
(module
  (import "wasi_snapshot_preview1" "random_get"
    (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (call $random_get (i32.const 65530) (i32.const 4096))
      (then (unreachable)))))
