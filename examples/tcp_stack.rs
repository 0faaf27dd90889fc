//! Standard stacks over a protocol of your own: length-prefixed frames over TCP, with tokio only.
//!
//! A key-value store and its client are each behind a stack. The store becomes slow, dies and comes
//! back, and the client survives it.
//!
//! Run it with `cargo run --example tcp_stack`. It ends after about two seconds.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay::{
    BoxError, Carry, CircuitBreakerLayer, Context, CorrelationLayer, Error, Outcome, RetryLayer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceExt, service_fn};

/// A request or a response: fields and a text. Both stacks read and write the fields.
#[derive(Debug, Clone, Default)]
struct Frame {
    fields: BTreeMap<String, String>,
    text: String,
}

impl Frame {
    fn new(text: impl Into<String>) -> Self {
        let (fields, text) = (BTreeMap::new(), text.into());
        Self { fields, text }
    }

    /// Writes four bytes of length, then each field on a line, an empty line, and the text.
    async fn write(&self, to: &mut TcpStream) -> io::Result<()> {
        let mut content = String::new();
        for (field, value) in &self.fields {
            content += &format!("{field}: {value}\n");
        }
        content += "\n";
        content += &self.text;
        to.write_u32(u32::try_from(content.len()).map_err(io::Error::other)?)
            .await?;
        to.write_all(content.as_bytes()).await
    }

    async fn read(from: &mut TcpStream) -> io::Result<Self> {
        const LONGEST: u32 = 64 * 1024;
        let length = from.read_u32().await?;
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut content = vec![0; length as usize];
        from.read_exact(&mut content).await?;
        let content = String::from_utf8(content).map_err(io::Error::other)?;
        let (fields, text) = content.split_once("\n\n").unwrap_or(("", content.trim()));
        let fields = fields.lines().filter_map(|line| line.split_once(": "));
        let fields = fields.map(|(field, value)| (field.to_owned(), value.to_owned()));
        Ok(Self {
            fields: fields.collect(),
            text: text.to_owned(),
        })
    }
}

// With this, the stacks propagate the correlation ID and the deadline in frames.
impl Carry for Frame {
    fn get(&self, field: &str) -> Option<&[u8]> {
        self.fields.get(field).map(String::as_bytes)
    }

    fn set(&mut self, field: &str, value: &str) {
        self.fields.insert(field.to_owned(), value.to_owned());
    }
}

/// Serves until the task is aborted.
fn serve(listener: TcpListener, is_slow: Arc<AtomicBool>) -> Result<JoinHandle<()>, BoxError> {
    let stack = mainstay::server("keys")
        .timeout(Duration::from_secs(1))
        .bulkhead(64)
        .propagate(CorrelationLayer::consumer())
        .build()?;
    let store = stack.wrap(service_fn(move |request: Frame| {
        let is_slow = is_slow.load(Ordering::Relaxed);
        async move {
            if is_slow {
                sleep(Duration::from_secs(10)).await;
            }
            let context = Context::current();
            let id = context.correlation_id().map(ToString::to_string);
            Ok::<_, Infallible>(Frame::new(format!(
                "{} for {}, with {} ms left",
                request.text.to_uppercase(),
                id.unwrap_or_default(),
                context.remaining().unwrap_or_default().as_millis(),
            )))
        }
    }));
    Ok(tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let store = store.clone();
            tokio::spawn(async move {
                let request = Frame::read(&mut connection).await?;
                // The stack does not know the protocol, so the server answers rejections.
                let answer = store.oneshot(request).await.unwrap_or_else(|rejection| {
                    let mut answer = Frame::new(rejection.reason().as_str());
                    answer.set("rejected", "yes");
                    answer
                });
                answer.write(&mut connection).await
            });
        }
    }))
}

/// One call of the store, over a connection of its own.
async fn call(store: SocketAddr, request: Frame) -> io::Result<Frame> {
    let mut connection = TcpStream::connect(store).await?;
    request.write(&mut connection).await?;
    let answer = Frame::read(&mut connection).await?;
    if answer.fields.contains_key("rejected") {
        return Err(io::Error::other(answer.text));
    }
    Ok(answer)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let is_slow = Arc::new(AtomicBool::new(false));
    let server = serve(listener, Arc::clone(&is_slow))?;

    let stack = mainstay::client("store")
        .timeout(Duration::from_millis(300))
        .attempt_timeout(Duration::from_millis(100))
        .retry(RetryLayer::builder().attempts(2).retry_if(
            // Only reads may be repeated.
            |request: &Frame, result: Result<&Frame, &Error<io::Error>>| {
                request.text.starts_with("get") && result.is_err()
            },
        ))
        .classify(|result: Result<&Frame, &Error<io::Error>>| match result {
            // An invalid frame says nothing about the health of the store.
            Err(Error::Inner(e)) if e.kind() == io::ErrorKind::InvalidData => Outcome::Ignored,
            Err(_) => Outcome::Failure,
            Ok(_) => Outcome::Success,
        })
        .circuit_breaker(
            CircuitBreakerLayer::builder()
                .consecutive_failures(3)
                .open_for(Duration::from_millis(300))
                .probes(1),
        )
        .propagate(CorrelationLayer::client())
        .build()?;
    println!("{stack}\n");
    let circuit = stack.circuit_breaker();
    let mut store = stack.wrap(service_fn(move |request| call(address, request)));

    let mut get = async |what: &str| {
        let began = Instant::now();
        let mut request = Frame::new("get a");
        request.set("x-correlation-id", "order-4711");
        let result = match store.ready().await {
            Ok(store) => store.call(request).await,
            Err(error) => Err(error),
        };
        let answer = match result {
            Ok(answer) => answer.text,
            Err(error) => error.to_string(),
        };
        let (took, circuit) = (began.elapsed().as_millis(), circuit.state());
        println!("{what:<9}{took:>4} ms, circuit {circuit:<10} {answer}");
    };

    get("healthy").await;
    is_slow.store(true, Ordering::Relaxed);
    get("slow").await;
    is_slow.store(false, Ordering::Relaxed);
    get("healthy").await;
    server.abort();
    let _ = server.await;
    for _ in 0..3 {
        get("dead").await;
    }
    let server = serve(TcpListener::bind(address).await?, is_slow)?;
    sleep(Duration::from_millis(400)).await;
    get("back").await;
    get("healthy").await;
    server.abort();
    println!("\n{}", stack.snapshot());
    Ok(())
}
