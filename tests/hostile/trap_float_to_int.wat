;; SPDX-License-Identifier: Apache-2.0
;; Converts a NaN to an integer.
;; code: guest-trap
;; options: --deadline 5s
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (i32.trunc_f64_s (f64.const nan)))))
