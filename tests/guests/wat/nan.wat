;; A core module for WASI preview 1 that exits with 0 where the NaN of 0/0 is the canonical one, with 1 where not.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func $zero (result f32) (f32.load (i32.const 0)))
  (func (export "_start")
    (call $exit (i32.ne (i32.reinterpret_f32 (f32.div (call $zero) (call $zero))) (i32.const 0x7fc00000)))))
