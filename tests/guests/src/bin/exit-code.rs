//! Exits with the code that it is told, after having written to both streams: nothing written may be lost. A component
//! passes on only whether the code is 0.

fn main() {
    let code = std::env::args()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    println!("leaving with {code}");
    eprintln!("on standard error too");
    std::process::exit(code);
}
