//! How connections are set up: those that clients make, those to whatever is asked on their behalf, and those of clients.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::limits::{KEEP_ALIVE_TIME, STALLED_TIME_MAX, UNACKNOWLEDGED_TIME_MAX};

/// Small messages go at once; and a machine that vanished is noticed where nothing is sent, as in a tunnel that is idle.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(KEEP_ALIVE_TIME).with_interval(KEEP_ALIVE_TIME);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// A machine that vanished is noticed although something was sent to it.
pub fn expect_acknowledgement(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIME_MAX))
}

/// A machine whose window stays closed is left, as one that vanished: the kernel alone would wait for ever. What is a tunnel may
/// pause for as long as its ends like.
pub fn expect_reading(stream: &TcpStream, expected: bool) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(expected.then_some(STALLED_TIME_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_prepared_is_probed_and_sends_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let told = || {
            let socket = SockRef::from(&stream);
            let times = (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap());
            (stream.nodelay().unwrap(), socket.keepalive().unwrap(), times)
        };
        let (nodelay, probed, _) = told();
        assert_eq!((nodelay, probed), (false, false));
        prepare(&stream).unwrap();
        assert_eq!(told(), (true, true, (KEEP_ALIVE_TIME, KEEP_ALIVE_TIME)));
    }
}
