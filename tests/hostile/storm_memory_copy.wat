;; SPDX-License-Identifier: Apache-2.0
;; Copies half of the largest memory over the other half for ever.
;; code: deadline-exceeded
;; options: --deadline 200ms
;; many: --memory 4MiB --jobs 4
(module
  (memory (export "memory") 1)
  (func (export "_start") (local $half i32)
    (loop $grow
      (br_if $grow (i32.ne (memory.grow (i32.const 64)) (i32.const -1))))
    (local.set $half (i32.mul (memory.size) (i32.const 32768)))
    (loop $copy
      (memory.copy (local.get $half) (i32.const 0) (local.get $half))
      (br $copy))))
