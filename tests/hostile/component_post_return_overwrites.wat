;; SPDX-License-Identifier: Apache-2.0
;; Answers, and overwrites its answer in the function that frees it: what it said before counts.
;; code: ok
;; answer: as it was
;; options: --deadline 5s
(component
  (core module $m
    (memory (export "memory") 1)
    (data (i32.const 64) "as it was")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32)
      (i32.store (i32.const 20) (i32.const 64))
      (i32.store (i32.const 24) (i32.const 9))
      (i32.const 16))
    (func (export "after") (param i32)
      (memory.fill (i32.const 16) (i32.const 255) (i32.const 256))))
  (core instance $i (instantiate $m))
  (alias core export $i "run" (core func $run))
  (alias core export $i "cabi_realloc" (core func $realloc))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "after" (core func $after))
  (func (export "run") (param "arg" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $realloc)
      (post-return $after))))
