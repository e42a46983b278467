;; SPDX-License-Identifier: Apache-2.0
;; Never finishes its instantiation: the start function loops.
;; code: deadline-exceeded
;; options: --deadline 200ms
(module
  (memory (export "memory") 1)
  (func $spin (loop $again (br $again)))
  (func (export "_start"))
  (start $spin))
