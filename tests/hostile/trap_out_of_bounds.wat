;; SPDX-License-Identifier: Apache-2.0
;; Reads past the end of its memory.
;; code: guest-trap
;; options: --deadline 5s
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (i64.load offset=4294967288 (i32.const -1)))))
