;; SPDX-License-Identifier: Apache-2.0
;; Grows until it is denied, and takes the denial for fatal, as allocators do.
;; code: memory-limit
;; options: --deadline 5s
;; cause: guest-trap
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again
      (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
      (br $again))))
