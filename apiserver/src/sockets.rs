//! How connections are set up, those that clients make and those to whatever is asked on their behalf.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::limits::KEEP_ALIVE_TIME;

/// Small messages go at once; and a machine that vanished is noticed where nothing is sent, as in a tunnel that is idle.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(KEEP_ALIVE_TIME).with_interval(KEEP_ALIVE_TIME);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}
