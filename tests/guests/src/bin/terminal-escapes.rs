//! Prints sequences that would drive a terminal: the clipboard, the title, the cursor, colours, a carriage return over
//! what was printed before. None may reach a user's terminal as it is.

fn main() {
    println!("\x1b]52;c;c3lrbGk=\x07clipboard");
    println!("\x1b]0;owned\x07title");
    println!("\x1b[2J\x1b[Hcleared");
    println!("\x1b[31mred\x1b[0m");
    println!("\u{9b}31mc1");
    println!("honest\rforged");
    eprintln!("\x1b]52;c;c3lrbGk=\x07on standard error");
}
