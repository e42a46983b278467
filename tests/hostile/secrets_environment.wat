;; SPDX-License-Identifier: Apache-2.0
;; Looks for arguments and environment variables; there is only its own name.
;; code: ok
;; options: --deadline 5s
(module
  (import "wasi_snapshot_preview1" "environ_sizes_get"
    (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get"
    (func $args_sizes_get (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (if (call $environ_sizes_get (i32.const 0) (i32.const 4)) (then (unreachable)))
    (if (call $args_sizes_get (i32.const 8) (i32.const 12)) (then (unreachable)))
    (if (i32.load (i32.const 0)) (then (unreachable)))
    (if (i32.load (i32.const 4)) (then (unreachable)))
    (if (i32.gt_u (i32.load (i32.const 8)) (i32.const 1)) (then (unreachable)))))
