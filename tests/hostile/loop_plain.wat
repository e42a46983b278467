;; SPDX-License-Identifier: Apache-2.0
;; The plainest endless loop.
;; code: deadline-exceeded
;; options: --deadline 200ms
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again (br $again))))
