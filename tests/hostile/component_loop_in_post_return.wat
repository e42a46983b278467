;; SPDX-License-Identifier: Apache-2.0
;; Answers at once, then loops in the function that frees the answer.
;; code: deadline-exceeded
;; options: --deadline 200ms
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32)
      (i32.const 16))
    (func (export "after") (param i32) (loop $again (br $again))))
  (core instance $i (instantiate $m))
  (alias core export $i "run" (core func $run))
  (alias core export $i "cabi_realloc" (core func $realloc))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "after" (core func $after))
  (func (export "run") (param "arg" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $realloc)
      (post-return $after))))
