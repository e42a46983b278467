;; SPDX-License-Identifier: Apache-2.0
;; An endless loop whose back edges all come from one br_table.
;; code: deadline-exceeded
;; options: --deadline 200ms
(module
  (memory (export "memory") 1)
  (func (export "_start") (local $state i32)
    (loop $a
      (loop $b
        (loop $c
          (local.set $state
            (i32.rem_u (i32.add (local.get $state) (i32.const 7)) (i32.const 3)))
          (br_table $a $b $c (local.get $state)))))))
