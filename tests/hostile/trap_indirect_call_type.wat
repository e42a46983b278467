;; SPDX-License-Identifier: Apache-2.0
;; Calls through a table under a type that the function does not have.
;; code: guest-trap
;; options: --deadline 5s
(module
  (memory (export "memory") 1)
  (table 1 funcref)
  (elem (i32.const 0) $other)
  (func $other (param f64))
  (func (export "_start")
    (drop (call_indirect (param i32) (result i32) (i32.const 1) (i32.const 0)))))
