//! A guest for the sandbox's tests: its first argument says what to do.

use std::io::{Read, Write};
use std::time::{Duration, Instant, SystemTime};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let what = args.get(1).map_or("", String::as_str);
    match what {
        "hello" => println!("hello"),
        "echo" => {
            println!("args {:?}", &args[2..]);
            let mut variables: Vec<_> = std::env::vars().collect();
            variables.sort();
            println!("env {variables:?}");
            let mut input = String::new();
            std::io::stdin().read_to_string(&mut input).unwrap();
            println!("stdin {input:?}");
            eprintln!("to stderr");
        }
        "exit" => std::process::exit(args[2].parse().unwrap()),
        "panic" => innermost(&args),
        "loop" => loop {
            std::hint::black_box(0);
        },
        "print-then-loop" => {
            println!("started");
            loop {
                std::hint::black_box(0);
            }
        }
        "print-then-sleep" => {
            println!("started");
            std::thread::sleep(Duration::MAX);
            println!("woke");
        }
        "sleep" => {
            let before = Instant::now();
            std::thread::sleep(Duration::from_millis(args[2].parse().unwrap()));
            println!("slept {}", before.elapsed().as_millis());
        }
        "time-and-luck" => time_and_luck(),
        "flood" => {
            let line = [b'x'; 64 * 1024];
            let mut out = std::io::stdout().lock();
            for _ in 0..args[2].parse::<u64>().unwrap() {
                out.write_all(&line).unwrap();
            }
            out.flush().unwrap();
        }
        "allocate" => {
            let mut kept = Vec::new();
            loop {
                kept.push(std::hint::black_box(vec![1u8; 1 << 20]));
            }
        }
        "try-allocate" => {
            let mut kept: Vec<Vec<u8>> = Vec::new();
            loop {
                let mut more = Vec::new();
                if more.try_reserve_exact(1 << 20).is_err() {
                    println!("full");
                    return;
                }
                kept.push(more);
            }
        }
        "recurse" => println!("{}", recurse(u64::MAX)),
        "connect" => match std::net::TcpStream::connect(&args[2]) {
            Ok(mut stream) => {
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                println!("connected: {answer}");
            }
            Err(error) => println!("refused: {:?}", error.kind()),
        },
        "listen" => println!("{:?}", std::net::TcpListener::bind(&args[2]).map(|_| ()).map_err(|e| e.kind())),
        "udp" => println!("{:?}", std::net::UdpSocket::bind(&args[2]).map(|_| ()).map_err(|e| e.kind())),
        "float" => {
            // A NaN whose sign and payload depend on who makes it.
            let nan = std::hint::black_box(0.0f64) / std::hint::black_box(0.0f64);
            println!("{:x}", (std::hint::black_box(-1.0f64) * nan).to_bits());
        }
        other => panic!("no such thing to do: {other:?}"),
    }
}

#[inline(never)]
fn innermost(args: &[String]) {
    panic!("this guest panics with {} arguments", args.len());
}

#[inline(never)]
fn recurse(n: u64) -> u64 {
    if n == 0 { 0 } else { 1 + std::hint::black_box(recurse(std::hint::black_box(n - 1))) }
}

/// Everything that differs from run to run on an ordinary machine.
fn time_and_luck() {
    let start = Instant::now();
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    println!("wall {wall:?}");
    std::thread::sleep(Duration::from_secs(3600));
    println!("slept {:?}", start.elapsed());
    let map: std::collections::HashMap<u32, u32> = (0..20).map(|n| (n, n)).collect();
    println!("order {:?}", map.keys().collect::<Vec<_>>());
}
