//! Answers without an end, over HTTP/1.1: watches.
//!
//! Nothing else happens on such a connection any more, so the answer takes it over from hyper, whose buffers (16 KiB for
//! each connection, in use or not) go. It is sent in chunks, and the connection ends with it. A client that reads nothing
//! for too long is left.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Method, Request, Version, header, response::Parts};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, rt};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use warp::reply::Response;

use crate::{limits, request::Endless};

type Stream = Box<TlsStream<TcpStream>>;

/// A connection that hyper uses until an answer takes it.
#[derive(Clone)]
pub struct Lent(Arc<Mutex<Option<TokioIo<Stream>>>>);

/// Whether the client could be sent such an answer: it waits for nothing but the answer, and understands chunks.
pub fn may_take(request: &Request<Incoming>) -> bool {
    request.method() == Method::GET && request.version() == Version::HTTP_11 && request.body().is_end_stream()
}

pub fn takes(response: &Response) -> bool {
    response.extensions().get::<Endless>().is_some()
}

/// Sends an answer to its end, or until the client goes.
pub async fn send(mut stream: Stream, response: Response) -> io::Result<()> {
    let (parts, mut body) = response.into_parts();
    write(&mut stream, head(&parts)).await?;
    let mut ignored = [0; 64];
    loop {
        let first = tokio::select! {
            frame = body.frame() => frame,
            read = stream.read(&mut ignored) => match read? {
                0 => return Ok(()),
                _ => continue,
            },
        };
        let mut out = Vec::new();
        let mut next = Some(first);
        // What is ready goes in one piece.
        while let Some(frame) = next {
            match frame {
                None => {
                    out.extend_from_slice(b"0\r\n\r\n");
                    write(&mut stream, out).await?;
                    return stream.shutdown().await;
                }
                // Cut off without the last chunk: the client sees that it is not complete.
                Some(Err(error)) => return Err(io::Error::other(error)),
                Some(Ok(frame)) => frame.into_data().into_iter().for_each(|data| chunk(&mut out, &data)),
            }
            next = if out.len() < limits::ENDLESS_WRITE_BYTES { body.frame().now_or_never() } else { None };
        }
        write(&mut stream, out).await?;
    }
}

fn chunk(out: &mut Vec<u8>, data: &Bytes) {
    // An empty one would be the last.
    if !data.is_empty() {
        out.extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

fn head(parts: &Parts) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    // It is said below in any case.
    for (name, value) in parts.headers.iter().filter(|(name, _)| **name != header::CONNECTION) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT");
    head.extend_from_slice(format!("date: {date}\r\n").as_bytes());
    head.extend_from_slice(b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n");
    head
}

async fn write(stream: &mut Stream, bytes: Vec<u8>) -> io::Result<()> {
    let writing = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing");
    tokio::time::timeout(limits::STALLED_TIME_MAX, writing).await.map_err(late)?
}

impl Lent {
    pub fn new(stream: Stream) -> Self {
        Lent(Arc::new(Mutex::new(Some(TokioIo::new(stream)))))
    }

    /// Takes the connection; for whoever else has it, it ends here.
    pub fn take(&self) -> Option<Stream> {
        self.lock().take().map(TokioIo::into_inner)
    }

    /// Looks at the connection, unless it was taken.
    pub fn with(&self, look: impl FnOnce(&TlsStream<TcpStream>)) {
        if let Some(stream) = self.lock().as_ref() {
            look(stream.inner());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<TokioIo<Stream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl rt::Read for Lent {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: rt::ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_read(context, buf),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl rt::Write for Lent {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_shutdown(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().as_ref().is_some_and(rt::Write::is_write_vectored)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.lock().as_mut() {
            Some(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}
