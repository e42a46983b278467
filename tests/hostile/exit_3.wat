;; SPDX-License-Identifier: Apache-2.0
;; Exits with a status of its own, which is passed on.
;; code: guest-exit
;; options: --deadline 5s
;; exit: 3
;; guest-exit: 3
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (call $proc_exit (i32.const 3))))
