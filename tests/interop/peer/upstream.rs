//! What the proxy stands in front of: an HTTP/1.1 server that misbehaves in ways that no framework would let it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay::BoxError;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

type Calls = Arc<Mutex<HashMap<String, u32>>>;

/// `/<what>/<n>/<key>`: the first `n` calls of the path go wrong.
/// `drop` closes the connection without an answer, `slow` answers late, `cut` sends a part of the body.
async fn serve(stream: TcpStream, calls: Calls) -> Result<(), BoxError> {
    let mut stream = BufStream::new(stream);
    let mut path = String::new();
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if path.is_empty() {
            path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        } else if line == "\r\n" {
            break;
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;

    let mut parts = path.split('/').skip(1);
    let what = parts.next().unwrap_or_default();
    let failures: u32 = parts.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let number = {
        let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
        let number = calls.entry(path.clone()).or_default();
        *number += 1;
        *number
    };
    let fails = number <= failures;
    match what {
        "drop" if fails => return Ok(()),
        "slow" if fails => tokio::time::sleep(Duration::from_secs(3)).await,
        "cut" if fails => {
            let part = "x".repeat(1_000);
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(part.as_bytes()).await?;
            stream.flush().await?;
            return Ok(stream.shutdown().await?);
        }
        _ => {}
    }
    let text = format!("call {number}, {} bytes", body.len());
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.flush().await?;
    Ok(stream.shutdown().await?)
}

pub(crate) async fn run() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // Bound, so that nobody else gets the port, and not listening, so that every connection is refused.
    let down = TcpSocket::new_v4()?;
    down.bind(([127, 0, 0, 1], 0).into())?;
    let addresses = json!({
        "up": listener.local_addr()?.to_string(),
        "down": down.local_addr()?.to_string(),
    });
    println!("{addresses}");
    let calls = Calls::default();
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, Arc::clone(&calls)));
    }
}
