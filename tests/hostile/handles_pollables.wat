;; SPDX-License-Identifier: Apache-2.0
;; Makes timers for ever and drops none.
;; code: handle-limit
;; options: --deadline 10s
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type (sub resource)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $outer))
    (export "pollable" (type $timer (eq $outer)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $timer))))))
  (alias export $clock "subscribe-duration" (func $subscribe))
  (core func $subscribe (canon lower (func $subscribe)))
  (core module $m
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32)
      (loop $again
        (drop (call $subscribe (i64.const 1000000000)))
        (br $again))
      (unreachable)))
  (core instance $i (instantiate $m
    (with "host" (instance (export "subscribe" (func $subscribe))))))
  (alias core export $i "run" (core func $run))
  (alias core export $i "cabi_realloc" (core func $realloc))
  (alias core export $i "memory" (core memory $memory))
  (func (export "run") (param "arg" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $realloc))))
