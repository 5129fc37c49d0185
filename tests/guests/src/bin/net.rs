//! `net [HOST:PORT]`: tries to connect, to look a name up, to listen and to send a datagram. One line a try; ends well
//! whatever the answers.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

fn main() {
    let peer = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9".to_owned());
    tell("connect", TcpStream::connect(&peer).and_then(talk));
    tell(
        "lookup",
        peer.to_socket_addrs()
            .map(|found| format!("{} addresses", found.count())),
    );
    tell(
        "lookup of a name",
        "sykli.example:443"
            .to_socket_addrs()
            .map(|found| format!("{} addresses", found.count())),
    );
    tell(
        "listen",
        TcpListener::bind("127.0.0.1:0").map(|_| "listening".to_owned()),
    );
    tell(
        "listen everywhere",
        TcpListener::bind("0.0.0.0:0").map(|_| "listening".to_owned()),
    );
    let sent = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"x", &peer));
    tell("datagram", sent.map(|bytes| format!("{bytes} bytes sent")));
}

fn talk(mut stream: TcpStream) -> io::Result<String> {
    stream.write_all(b"ping\n")?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).trim().to_owned())
}

fn tell(what: &str, result: io::Result<String>) {
    match result {
        Ok(answer) => println!("{what}: ok: {answer}"),
        Err(error) => println!("{what}: refused: {:?}", error.kind()),
    }
}
