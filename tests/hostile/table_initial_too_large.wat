;; SPDX-License-Identifier: Apache-2.0
;; Declares a table larger than the call may have.
;; code: table-limit
;; options: --deadline 5s
(module
  (memory (export "memory") 1)
  (table $t 20000 funcref)
  (func (export "_start")))
