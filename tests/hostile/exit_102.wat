;; SPDX-License-Identifier: Apache-2.0
;; Exits with the status of one of our own codes: the code tells the two apart.
;; code: guest-exit
;; options: --deadline 5s
;; exit: 102
;; guest-exit: 102
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $proc_exit (i32.const 102))))
