;; A command that needs an interface which nobody here provides.
(component
  (import "acme:gpu/compute@1.2.0" (instance (export "launch" (func (param "kernel" string)))))
  (core module $main (func (export "run") (result i32) i32.const 0))
  (core instance $main (instantiate $main))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command))
)
