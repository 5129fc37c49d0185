//! Asks for 1.5 GiB at once and does not look at the answer: aborts where it is refused.

fn main() {
    let all = vec![1u8; 3 << 29];
    println!(
        "got {} bytes, the last is {}",
        all.len(),
        all[all.len() - 1]
    );
}
