//! Prints the environment variables that it is told by name, or says that they are not there.

fn main() {
    for name in std::env::args().skip(1) {
        match std::env::var(&name) {
            Ok(value) => println!("{name}={value}"),
            Err(_) => println!("{name} is not set"),
        }
    }
}
