;; SPDX-License-Identifier: Apache-2.0
;; Two core instances with 6,000 table elements each: the limit holds for their sum.
;; code: table-limit
;; options: --deadline 5s
(component
  (core module $wide
    (table 6000 funcref)
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32)
      (i32.const 16)))
  (core instance $one (instantiate $wide))
  (core instance $two (instantiate $wide))
  (alias core export $two "run" (core func $run))
  (alias core export $two "cabi_realloc" (core func $realloc))
  (alias core export $two "memory" (core memory $memory))
  (func (export "run") (param "arg" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $realloc))))
