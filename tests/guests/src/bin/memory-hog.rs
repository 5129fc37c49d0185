//! Takes memory in steps of 16 MiB, touching every page, until it is refused; then says how much it got and ends well.

fn main() {
    const STEP: usize = 16 << 20;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut step = Vec::new();
        if step.try_reserve_exact(STEP).is_err() {
            break;
        }
        step.resize(STEP, taken.len() as u8);
        taken.push(step);
    }
    let touched: usize = taken
        .iter()
        .map(|step| step.iter().step_by(4096).count())
        .sum();
    println!(
        "refused after {} MiB, {touched} pages touched",
        taken.len() * STEP >> 20
    );
}
