//! Does nothing: the floor of every measurement, and the task whose success shows that the sandbox still works.

fn main() {}
