;; SPDX-License-Identifier: Apache-2.0
;; Exits with a status that WASI does not allow.
;; code: guest-trap
;; options: --deadline 5s
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $proc_exit (i32.const 255))))
