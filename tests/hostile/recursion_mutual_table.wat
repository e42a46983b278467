;; SPDX-License-Identifier: Apache-2.0
;; Two functions that call each other through a table for ever.
;; code: stack-overflow
;; options: --deadline 5s
(module
  (type $f (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (table 2 funcref)
  (elem (i32.const 0) $ping $pong)
  (func $ping (type $f)
    (i32.add (call_indirect (type $f) (local.get 0) (i32.const 1)) (i32.const 1)))
  (func $pong (type $f)
    (i32.add (call_indirect (type $f) (local.get 0) (i32.const 0)) (i32.const 1)))
  (func (export "_start") (drop (call $ping (i32.const 0)))))
