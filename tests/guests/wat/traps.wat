;; A core module for WASI preview 1 that traps in a way of its own for each argument count:
;; none divides by zero, one reads beyond memory, two call through an empty table.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (table 4 funcref)
  (type $nothing (func))
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (if (i32.eq (i32.load (i32.const 0)) (i32.const 2))
      (then (drop (i32.load (i32.const 0x7fffffff)))))
    (if (i32.eq (i32.load (i32.const 0)) (i32.const 3))
      (then (call_indirect (type $nothing) (i32.const 1))))
    (drop (i32.div_u (i32.const 1) (i32.const 0)))))
