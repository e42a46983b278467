;; SPDX-License-Identifier: Apache-2.0
;; Exits with the largest status that is passed on.
;; code: guest-exit
;; options: --deadline 5s
;; exit: 125
;; guest-exit: 125
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $proc_exit (i32.const 125))))
