;; SPDX-License-Identifier: Apache-2.0
;; Asks for 1 MiB of random bytes in one host call.
;; code: hostcall-limit
;; options: --deadline 5s
(module
  (import "wasi_snapshot_preview1" "random_get"
    (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 32)
  (func (export "_start")
    (drop (call $random_get (i32.const 0) (i32.const 1048576)))
    (unreachable)))
