;; SPDX-License-Identifier: Apache-2.0
;; Takes all the memory it can get and fills it for ever: few instructions, long ones.
;; code: deadline-exceeded
;; options: --deadline 200ms
;; many: --memory 4MiB --jobs 4
(module
  (memory (export "memory") 1)
  (func (export "_start") (local $byte i32)
    (loop $grow
      (br_if $grow (i32.ne (memory.grow (i32.const 64)) (i32.const -1))))
    (loop $fill
      (local.set $byte (i32.add (local.get $byte) (i32.const 1)))
      (memory.fill (i32.const 0) (local.get $byte) (i32.mul (memory.size) (i32.const 65536)))
      (br $fill))))
