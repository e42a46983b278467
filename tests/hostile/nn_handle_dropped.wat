;; SPDX-License-Identifier: Apache-2.0
;; Reads a tensor that it has dropped.
;; code: guest-trap
;; options: --allow-model relu3 --model relu3=models/test/relu3.onnx --deadline 10s
;; says: unknown handle index
(component
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" (instance $errors
    (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" (instance $tensors
    (export "tensor" (type $t (sub resource)))
    (type $types (enum "FP16" "FP32" "FP64" "BF16" "U8" "I32" "I64"))
    (export "tensor-type" (type $ty (eq $types)))
    (export "[constructor]tensor" (func (param "dimensions" (list u32)) (param "ty" $ty)
      (param "data" (list u8)) (result (own $t))))
    (export "[method]tensor.data" (func (param "self" (borrow $t)) (result (list u8))))))
  (alias export $tensors "tensor" (type $tensor))
  (import "wasi:nn/inference@0.2.0-rc-2024-10-28" (instance $inference
    (alias outer 1 $error (type $e0))
    (export "error" (type $e (eq $e0)))
    (alias outer 1 $tensor (type $t0))
    (export "tensor" (type $t (eq $t0)))
    (export "graph-execution-context" (type $c (sub resource)))
    (export "[method]graph-execution-context.compute" (func (param "self" (borrow $c))
      (param "inputs" (list (tuple string (own $t))))
      (result (result (list (tuple string (own $t))) (error (own $e))))))))
  (alias export $inference "graph-execution-context" (type $context))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" (instance $graphs
    (alias outer 1 $error (type $e0))
    (export "error" (type $e (eq $e0)))
    (alias outer 1 $context (type $c0))
    (export "graph-execution-context" (type $c (eq $c0)))
    (export "graph" (type $g (sub resource)))
    (export "[method]graph.init-execution-context" (func (param "self" (borrow $g))
      (result (result (own $c) (error (own $e))))))
    (export "load-by-name" (func (param "name" string)
      (result (result (own $g) (error (own $e))))))))
  (core module $memories
    (memory (export "memory") 4)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (i32.const 65536))
    (data (i32.const 1024) "relu3")
    (data (i32.const 1040) "x"))
  (core instance $i0 (instantiate $memories))
  (alias core export $i0 "memory" (core memory $memory))
  (alias core export $i0 "realloc" (core func $realloc))
  (core func $tensor (canon lower (func $tensors "[constructor]tensor") (memory $memory)))
  (core func $data (canon lower (func $tensors "[method]tensor.data") (memory $memory)
    (realloc $realloc)))
  (core func $compute (canon lower
    (func $inference "[method]graph-execution-context.compute") (memory $memory)
    (realloc $realloc)))
  (core func $init (canon lower (func $graphs "[method]graph.init-execution-context")
    (memory $memory)))
  (core func $load (canon lower (func $graphs "load-by-name") (memory $memory)))
  (core func $drop (canon resource.drop $tensor))
  (core module $m
    (import "mem" "memory" (memory 1))
    (import "nn" "tensor" (func $tensor (param i32 i32 i32 i32 i32) (result i32)))
    (import "nn" "data" (func $data (param i32 i32)))
    (import "nn" "compute" (func $compute (param i32 i32 i32 i32)))
    (import "nn" "init" (func $init (param i32 i32)))
    (import "nn" "load" (func $load (param i32 i32 i32)))
    (import "nn" "drop" (func $drop (param i32)))
    ;; a tensor of f32[3] zeros
    (func $three (result i32)
      (i32.store (i32.const 1536) (i32.const 3))
      (call $tensor (i32.const 1536) (i32.const 1) (i32.const 1) (i32.const 4096) (i32.const 12)))
    (func (export "run") (param $arg i32) (param $arg_len i32) (result i32)
      (local $tensor i32)
      (local.set $tensor (call $three))
      (call $drop (local.get $tensor))
      (call $data (local.get $tensor) (i32.const 2048))
      (i32.const 16)))
  (core instance $i (instantiate $m
    (with "mem" (instance $i0))
    (with "nn" (instance
      (export "tensor" (func $tensor)) (export "data" (func $data))
      (export "compute" (func $compute)) (export "init" (func $init))
      (export "load" (func $load)) (export "drop" (func $drop))))))
  (alias core export $i "run" (core func $run))
  (func (export "run") (param "arg" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $realloc))))
