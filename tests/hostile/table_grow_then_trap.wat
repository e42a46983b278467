;; SPDX-License-Identifier: Apache-2.0
;; Grows a table until it is denied, then traps.
;; code: table-limit
;; options: --deadline 5s
;; cause: guest-trap
(module
  (memory (export "memory") 1)
  (table $t 1 funcref)
  (func (export "_start")
    (loop $again
      (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))
        (then (unreachable)))
      (br $again))))
