//! How a caller's connection is set up.

use std::io;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;

use super::limits::PROBE_INTERVAL;

/// Small messages go at once; and a caller's machine that vanished is noticed where nothing is sent, as in a session that is idle.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    const SECONDS: u32 = PROBE_INTERVAL.as_secs() as u32;
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &SECONDS)?;
    Ok(setsockopt(stream, sockopt::TcpKeepInterval, &SECONDS)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use nix::sys::socket::getsockopt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_prepared_is_probed_and_sends_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(!getsockopt(&stream, sockopt::KeepAlive).unwrap());
        prepare(&stream).unwrap();
        assert!(stream.nodelay().unwrap() && getsockopt(&stream, sockopt::KeepAlive).unwrap());
        let seconds = PROBE_INTERVAL.as_secs();
        assert_eq!(u64::from(getsockopt(&stream, sockopt::TcpKeepIdle).unwrap()), seconds);
        assert_eq!(u64::from(getsockopt(&stream, sockopt::TcpKeepInterval).unwrap()), seconds);
    }
}
