// A function with the same response to every event. A test compiles it; it is not part of this crate.

use std::io::{Read, Write};
use std::net::TcpStream;

const RESPONSE: &str = "one";

fn call(method: &str, path: &str, body: &str) -> String {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    let (host, base) = api.trim_start_matches("http://").split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} /{base}/2018-06-01/runtime/invocation/{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn main() {
    println!(r#"{{"message":"ready"}}"#);
    loop {
        let next = call("GET", "next", "");
        let id = next
            .lines()
            .find_map(|line| line.strip_prefix("lambda-runtime-aws-request-id: "))
            .unwrap();
        call("POST", &format!("{id}/response"), &format!("\"{RESPONSE}\""));
    }
}
