;; SPDX-License-Identifier: Apache-2.0
;; Asks wasi:random for a list of 16 GiB.
;; code: hostcall-limit
;; options: --deadline 5s
(component
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
  (core module $libc
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (i32.const 1024)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "cabi_realloc" (core func $realloc))
  (alias export $random "get-random-bytes" (func $bytes))
  (core func $bytes (canon lower (func $bytes)
    (memory $memory) (realloc $realloc)))
  (core module $m
    (import "host" "bytes" (func $bytes (param i64 i32)))
    (func (export "run") (param i32 i32) (result i32)
      (call $bytes (i64.const 17179869184) (i32.const 64))
      (i32.const 16)))
  (core instance $i (instantiate $m
    (with "host" (instance (export "bytes" (func $bytes))))))
  (alias core export $i "run" (core func $run))
  (func (export "run") (param "arg" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $realloc))))
