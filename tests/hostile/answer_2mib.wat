;; SPDX-License-Identifier: Apache-2.0
;; Answers with 2 MiB of text: more than an answer may have.
;; code: hostcall-limit
;; options: --deadline 5s
(component
  (core module $m
    (memory (export "memory") 64)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32)
      (memory.fill (i32.const 65536) (i32.const 97) (i32.const 2097152))
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (i32.const 65536))
      (i32.store (i32.const 24) (i32.const 2097152))
      (i32.const 16)))
  (core instance $i (instantiate $m))
  (alias core export $i "run" (core func $run))
  (alias core export $i "cabi_realloc" (core func $realloc))
  (alias core export $i "memory" (core memory $memory))
  (func (export "run") (param "arg" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $realloc))))
