//! Prints its arguments and environment, sorted, one a line: what the grant let through and nothing else.

fn main() {
    println!("hello");
    for (i, argument) in std::env::args().enumerate() {
        println!("arg {i}: {argument}");
    }
    let mut variables: Vec<_> = std::env::vars().collect();
    variables.sort();
    for (name, value) in variables {
        println!("env {name}={value}");
    }
}
