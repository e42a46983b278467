;; SPDX-License-Identifier: Apache-2.0
;; Counts for longer than its fuel lasts, and far shorter than its deadline.
;; code: fuel-exhausted
;; options: --deadline 20s --fuel 100000
(module
  (memory (export "memory") 1)
  (func (export "_start") (local $i i32)
    (loop $again
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 1000000))))))
