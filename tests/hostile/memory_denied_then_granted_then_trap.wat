;; SPDX-License-Identifier: Apache-2.0
;; A growth is denied, a smaller one granted, and then it traps: the trap is the reason, not
;; memory.
;; code: guest-trap
;; options: --deadline 5s
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (memory.grow (i32.const 65535)))
    (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then (loop $again (br $again))))
    (unreachable)))
