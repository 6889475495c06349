//! The agent's end of a shim's socket: requests out, replies in, descriptors beside them. Knows no sandbox.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use tokio::{io::Interest, net::UnixStream};

use crate::{
    limits::MESSAGE_BYTES_MAX,
    shim::protocol::{Reply, Request},
    sys,
};

#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    received: Vec<OwnedFd>,
}

impl Connection {
    pub async fn open(socket: &Path) -> io::Result<Connection> {
        Ok(Connection { stream: UnixStream::connect(socket).await?, input: Vec::new(), received: Vec::new() })
    }

    pub async fn send(&mut self, request: &Request, fds: &[OwnedFd]) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(request)?;
        bytes.push(b'\n');
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the request is too large"));
        }
        let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let mut sent = 0;
        while sent < bytes.len() {
            let fds = if sent == 0 { raw.as_slice() } else { &[] };
            let write = || sys::send_with_fds(&self.stream, &bytes[sent..], fds).map_err(io::Error::from);
            sent += self.stream.async_io(Interest::WRITABLE, write).await?;
        }
        Ok(())
    }

    /// The next reply, `None` when the shim is gone. Cancelling loses nothing.
    pub async fn receive(&mut self) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return Ok(Some((serde_json::from_slice(&line)?, std::mem::take(&mut self.received))));
            }
            let read = || sys::receive_with_fds(&self.stream, &mut buffer).map_err(io::Error::from);
            let (length, fds) = match self.stream.async_io(Interest::READABLE, read).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                received => received?,
            };
            if length == 0 {
                return Ok(None);
            }
            self.input.extend_from_slice(&buffer[..length]);
            self.received.extend(fds);
        }
    }
}
