;; SPDX-License-Identifier: Apache-2.0
;; Calls itself for ever.
;; code: stack-overflow
;; options: --deadline 5s
(module
  (memory (export "memory") 1)
  (func $down (param i64) (result i64)
    (i64.add (local.get 0) (call $down (i64.add (local.get 0) (i64.const 1)))))
  (func (export "_start") (drop (call $down (i64.const 0)))))
