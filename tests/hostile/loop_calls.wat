;; SPDX-License-Identifier: Apache-2.0
;; An endless loop that only calls a function: no back edge in the callee.
;; code: deadline-exceeded
;; options: --deadline 200ms
(module
  (memory (export "memory") 1)
  (global $n (mut i64) (i64.const 0))
  (func $leaf (global.set $n (i64.add (global.get $n) (i64.const 1))))
  (func (export "_start")
    (loop $again (call $leaf) (br $again))))
