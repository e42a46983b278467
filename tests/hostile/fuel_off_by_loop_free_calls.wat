;; SPDX-License-Identifier: Apache-2.0
;; Burns fuel by calls instead of loops.
;; code: fuel-exhausted
;; options: --deadline 20s --fuel 1000000
(module
  (memory (export "memory") 1)
  (func $f0)
  (func $f1 (call $f0) (call $f0) (call $f0) (call $f0))
  (func $f2 (call $f1) (call $f1) (call $f1) (call $f1))
  (func $f3 (call $f2) (call $f2) (call $f2) (call $f2))
  (func $f4 (call $f3) (call $f3) (call $f3) (call $f3))
  (func $f5 (call $f4) (call $f4) (call $f4) (call $f4))
  (func $f6 (call $f5) (call $f5) (call $f5) (call $f5))
  (func $f7 (call $f6) (call $f6) (call $f6) (call $f6))
  (func $f8 (call $f7) (call $f7) (call $f7) (call $f7))
  (func $f9 (call $f8) (call $f8) (call $f8) (call $f8))
  (func $f10 (call $f9) (call $f9) (call $f9) (call $f9))
  (func $f11 (call $f10) (call $f10) (call $f10) (call $f10))
  (func $f12 (call $f11) (call $f11) (call $f11) (call $f11))
  (func (export "_start") (call $f12)))
