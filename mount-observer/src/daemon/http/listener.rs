//! Connections bounded in number and in time without an answer: clients that do nothing, or send
//! their request byte by byte, cost a known amount and give their place up soon.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

/// Connections served at a time; more wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 64;
/// A new connection must be answered within this time, which a whole request must precede.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(5);
/// A connection on which no byte of an answer moves for this long is closed. What the client sends
/// does not count: it could trickle for ever.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Pause after a failed accept: out of descriptors is not cured by trying at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// A TCP listener with both bounds.
pub(super) struct BoundedListener {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    idle_max: Duration,
}

impl BoundedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self::with_bounds(listener, CONNECTIONS_MAX, IDLE_MAX)
    }

    pub(super) fn with_bounds(
        listener: TcpListener,
        connections: usize,
        idle_max: Duration,
    ) -> Self {
        Self {
            listener,
            slots: Arc::new(Semaphore::new(connections)),
            idle_max,
        }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let slot = loop {
            // The semaphore is never closed; were it, nothing would be served any more.
            if let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await {
                break slot;
            }
            sleep(ACCEPT_PAUSE).await;
        };
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let connection = BoundedConnection {
                        stream,
                        deadline: Box::pin(sleep(self.idle_max.min(FIRST_ANSWER_MAX))),
                        idle_max: self.idle_max,
                        _slot: slot,
                    };
                    return (connection, address);
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// One connection; it holds its slot until it is dropped.
pub(super) struct BoundedConnection {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    idle_max: Duration,
    _slot: OwnedSemaphorePermit,
}

impl BoundedConnection {
    /// Passes a result on; while there is none, watches the clock.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            return result;
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for BoundedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.bounded(context, result)
    }
}

impl AsyncWrite for BoundedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        if result.is_ready() {
            let deadline = Instant::now() + self.idle_max;
            self.deadline.as_mut().reset(deadline);
        }
        self.bounded(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
