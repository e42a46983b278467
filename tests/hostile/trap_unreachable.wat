;; SPDX-License-Identifier: Apache-2.0
;; Runs into unreachable.
;; code: guest-trap
;; options: --deadline 5s
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (unreachable)))
