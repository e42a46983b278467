;; SPDX-License-Identifier: Apache-2.0
;; Declares more memory than the call may have: 128 MiB.
;; code: memory-limit
;; options: --deadline 5s
(module
  (memory (export "memory") 2048)
  (func (export "_start")))
