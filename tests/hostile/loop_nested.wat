;; SPDX-License-Identifier: Apache-2.0
;; Three nested loops, counted so that no level is ever left.
;; code: deadline-exceeded
;; options: --deadline 200ms
(module
  (memory (export "memory") 1)
  (func (export "_start") (local $i i32) (local $j i64)
    (loop $outer
      (local.set $j (i64.const 0))
      (loop $middle
        (local.set $i (i32.const 0))
        (loop $inner
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $inner (i32.lt_u (local.get $i) (i32.const 1000))))
        (local.set $j (i64.add (local.get $j) (i64.const 1)))
        (br_if $middle (i64.lt_u (local.get $j) (i64.const 1000))))
      (br $outer))))
