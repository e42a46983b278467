;; SPDX-License-Identifier: Apache-2.0
;; A denied growth is the guest's to handle: this one handles it and ends well.
;; code: ok
;; options: --deadline 5s
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (if (i32.ne (memory.grow (i32.const 65535)) (i32.const -1)) (then (unreachable)))))
