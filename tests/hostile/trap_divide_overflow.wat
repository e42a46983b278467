;; SPDX-License-Identifier: Apache-2.0
;; The one signed division that overflows.
;; code: guest-trap
;; options: --deadline 5s
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (i64.div_s
      (i64.const -9223372036854775808) (i64.sub (i64.load (i32.const 0)) (i64.const 1))))))
