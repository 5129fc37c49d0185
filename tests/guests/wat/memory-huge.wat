;; One memory whose least size is 4 GiB, as much as 32-bit addresses reach.
(component
  (core module $hog (memory (export "memory") 65536))
  (core instance (instantiate $hog))
  (core module $main (func (export "run") (result i32) i32.const 0))
  (core instance $main (instantiate $main))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command))
)
