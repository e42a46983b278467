;; SPDX-License-Identifier: Apache-2.0
;; Traps when the host asks it for room for the argument.
;; code: guest-trap
;; options: --deadline 5s
;; argument: anything
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (unreachable))
    (func (export "run") (param i32 i32) (result i32)
      (i32.const 16)))
  (core instance $i (instantiate $m))
  (alias core export $i "run" (core func $run))
  (alias core export $i "cabi_realloc" (core func $realloc))
  (alias core export $i "memory" (core memory $memory))
  (func (export "run") (param "arg" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $realloc))))
