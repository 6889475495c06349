//! One connection to the shim: lines in, lines out, descriptors beside them. Never blocks the shim.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
};

use super::protocol::{Reply, Request};
use crate::{
    limits::{CLIENT_BUFFER_BYTES_MAX, MESSAGE_BYTES_MAX},
    sys,
};

pub type ClientId = u64;

#[derive(Debug)]
pub struct Client {
    pub socket: OwnedFd,
    /// Wants a snapshot after every change.
    pub watching: bool,
    /// A change happened while earlier snapshots were still waiting to be taken.
    pub behind: bool,
    input: Vec<u8>,
    received: Vec<OwnedFd>,
    output: VecDeque<Message>,
    output_bytes: usize,
}

#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

/// What reading brought.
#[derive(Debug)]
pub enum Input {
    Requests(Vec<(Request, Vec<OwnedFd>)>),
    Gone,
}

impl Client {
    pub fn new(socket: OwnedFd) -> Client {
        Client {
            socket,
            watching: false,
            behind: false,
            input: Vec::new(),
            received: Vec::new(),
            output: VecDeque::new(),
            output_bytes: 0,
        }
    }

    /// Reads what is there. A client that says nonsense is treated as gone.
    pub fn read(&mut self) -> Input {
        let mut buffer = [0; 16 * 1024];
        let mut requests = Vec::new();
        loop {
            match sys::receive_with_fds(&self.socket, &mut buffer) {
                Ok((0, _)) => return Input::Gone,
                Ok((length, fds)) => {
                    self.input.extend_from_slice(&buffer[..length]);
                    self.received.extend(fds);
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(_) => return Input::Gone,
            }
            while let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(request) => requests.push((request, std::mem::take(&mut self.received))),
                    Err(_) => return Input::Gone,
                }
            }
            if self.input.len() > MESSAGE_BYTES_MAX {
                return Input::Gone;
            }
        }
        Input::Requests(requests)
    }

    pub fn send(&mut self, reply: &Reply, fds: Vec<OwnedFd>) {
        let mut bytes = serde_json::to_vec(reply).expect("a reply is plain data");
        bytes.push(b'\n');
        self.output_bytes += bytes.len();
        self.output.push_back(Message { bytes, sent: 0, fds });
    }

    pub fn wants_to_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// Writes what the socket takes; false when the client is gone or hopelessly behind.
    pub fn write(&mut self) -> bool {
        while let Some(message) = self.output.front_mut() {
            let fds: Vec<i32> = match message.sent {
                0 => message.fds.iter().map(AsRawFd::as_raw_fd).collect(),
                _ => Vec::new(),
            };
            match sys::send_with_fds(&self.socket, &message.bytes[message.sent..], &fds) {
                Ok(length) => message.sent += length,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(_) => return false,
            }
            if message.sent == message.bytes.len() {
                self.output_bytes -= message.bytes.len();
                self.output.pop_front();
            }
        }
        self.output_bytes <= CLIENT_BUFFER_BYTES_MAX
    }
}

pub fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
