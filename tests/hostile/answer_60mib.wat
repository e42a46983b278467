;; SPDX-License-Identifier: Apache-2.0
;; Answers with nearly all of its memory, which no function of its own had to fill.
;; code: hostcall-limit
;; options: --deadline 5s
(component
  (core module $m
    (memory (export "memory") 1000)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32)
      (i32.store (i32.const 20) (i32.const 65536))
      (i32.store (i32.const 24) (i32.const 62914560))
      (i32.const 16)))
  (core instance $i (instantiate $m))
  (alias core export $i "run" (core func $run))
  (alias core export $i "cabi_realloc" (core func $realloc))
  (alias core export $i "memory" (core memory $memory))
  (func (export "run") (param "arg" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $realloc))))
