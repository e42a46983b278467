# SPDX-License-Identifier: Apache-2.0
"""Small guests as text, for tests that need one in a dozen lines."""

AGENT = """
(component
  {imports}
  (core module $m
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32)
      {body}
      (i32.const 16)))
  (core instance $i (instantiate $m))
  (alias core export $i "run" (core func $run))
  (alias core export $i "cabi_realloc" (core func $realloc))
  (alias core export $i "memory" (core memory $memory))
  (func (export "run") (param "arg" string) (result (result string (error string)))
    (canon lift (core func $run) (memory $memory) (realloc $realloc))))
"""

COMMAND = """
(module
  {imports}
  (memory (export "memory") 1)
  (func (export "_start") {body}))
"""


def agent(imports="", body=""):
    return AGENT.format(imports=imports, body=body)


def command(imports="", body=""):
    return COMMAND.format(imports=imports, body=body)


def interface(name, *functions):
    """An imported interface of functions without parameters or results."""
    members = " ".join(f'(export "{f}" (func))' for f in functions)
    return f'(import "{name}" (instance {members}))'


# wasi:nn's inference interface with the three calls of the older revision.
def older_nn_calls(version):
    return f"""
  (import "wasi:nn/errors@{version}" (instance $errors
    (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:nn/tensor@{version}" (instance $tensor
    (export "tensor" (type (sub resource)))))
  (alias export $tensor "tensor" (type $tensor))
  (import "wasi:nn/inference@{version}" (instance
    (alias outer 1 $error (type $outer-error))
    (export "error" (type $error (eq $outer-error)))
    (alias outer 1 $tensor (type $outer-tensor))
    (export "tensor" (type $tensor (eq $outer-tensor)))
    (export "graph-execution-context" (type $context (sub resource)))
    (export "[method]graph-execution-context.set-input" (func
      (param "self" (borrow $context)) (param "name" string) (param "tensor" (own $tensor))
      (result (result (error (own $error))))))
    (export "[method]graph-execution-context.compute" (func
      (param "self" (borrow $context)) (result (result (error (own $error))))))))"""
