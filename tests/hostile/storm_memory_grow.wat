;; SPDX-License-Identifier: Apache-2.0
;; Asks for memory for ever, whatever the answer.
;; code: deadline-exceeded
;; options: --deadline 200ms
;; many: --memory 16MiB
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again
      (drop (memory.grow (i32.const 1)))
      (drop (memory.grow (i32.const 65535)))
      (br $again))))
