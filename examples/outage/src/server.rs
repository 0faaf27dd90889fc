//! A server that can be killed and started again on the same port.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    thread,
};

use axum::Router;
use tokio::{net::TcpSocket, runtime, sync::oneshot};

/// A port on the loopback interface that belongs to this process, but on which nobody listens:
/// connections are refused.
///
/// A server that is down keeps its port this way. Otherwise the kernel could give the port to one
/// of the many outgoing connections of this program, and the server could not start on it again.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    socket: TcpSocket,
}

impl Port {
    /// Any port that is free.
    pub(crate) fn any() -> io::Result<Self> {
        Self::bind((Ipv4Addr::LOCALHOST, 0).into())
    }

    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // Connections that were just closed stay in the kernel (TIME_WAIT). They must not block the
        // port.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self {
            address: socket.local_addr()?,
            socket,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens, and serves `router` from a thread and a runtime of its own.
    ///
    /// With its own runtime, [`Server::kill`] ends all tasks and connections. And the tasks of the
    /// upstream, the gateway and the load do not wait for each other, as on different machines.
    pub(crate) async fn serve(self, name: &str, router: Router) -> io::Result<Server> {
        let Self { address, socket } = self;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (listening, is_listening) = oneshot::channel();
        let (kill, is_killed) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let listener = match socket.listen(BACKLOG) {
                        Ok(listener) => listener,
                        Err(error) => return drop(listening.send(Err(error))),
                    };
                    if listening.send(Ok(())).is_err() {
                        return;
                    }
                    tokio::select! {
                        result = axum::serve(listener, router) => {
                            unreachable!("axum::serve does not return: {result:?}")
                        }
                        _ = is_killed => {}
                    }
                });
                // Here the runtime is dropped, with every task and every connection.
            })?;
        is_listening.await.map_err(io::Error::other)??;
        Ok(Server {
            address,
            kill,
            thread,
        })
    }
}

/// Connections that wait to be accepted. It is large enough if every request of a second uses a new
/// connection.
const BACKLOG: u32 = 1024;

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    kill: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Server {
    /// Closes the listener and every connection at once, as when a process is killed.
    ///
    /// When this returns, connections are refused. The returned port can start a server again.
    pub(crate) async fn kill(self) -> io::Result<Port> {
        let Self {
            address,
            kill,
            thread,
        } = self;
        drop(kill);
        tokio::task::spawn_blocking(|| thread.join())
            .await
            .map_err(io::Error::other)?
            .map_err(|_| io::Error::other("the server panicked"))?;
        Port::bind(address)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    #[tokio::test]
    async fn a_killed_server_refuses_cuts_and_comes_back_on_its_port() {
        let port = Port::any().unwrap();
        let address = port.address();
        let router = || Router::new().route("/", get(|| async { "hello" }));
        let refused = || async { TcpStream::connect(address).await.unwrap_err().kind() };

        assert_eq!(refused().await, io::ErrorKind::ConnectionRefused);
        let server = port.serve("test", router()).await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
            .await
            .unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);

        let port = server.kill().await.unwrap();
        let cut = stream.read(&mut [0; 1024]).await;
        assert!(
            matches!(cut, Ok(0) | Err(_)),
            "the connection is still open: {cut:?}"
        );
        assert_eq!(refused().await, io::ErrorKind::ConnectionRefused);

        let _server = port.serve("test", router()).await.unwrap();
        TcpStream::connect(address).await.unwrap();
    }
}
