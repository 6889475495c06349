//! The gRPC health check (`grpc.health.v1.Health/Check`): one small message each way, written by hand.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::check::Outcome;
use crate::limits::PROBE_OUTPUT_MAX;

const SERVING: u64 = 1;

pub async fn check(address: IpAddr, port: u16, service: &str) -> Outcome {
    match ask(address, port, service).await {
        Ok(SERVING) => Outcome::Healthy,
        Ok(status) => {
            let name = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"].get(status as usize).unwrap_or(&"?");
            Outcome::Unhealthy(format!("service unhealthy (responded with {name:?})"))
        }
        Err(message) => Outcome::Unhealthy(message),
    }
}

async fn ask(address: IpAddr, port: u16, service: &str) -> Result<u64, String> {
    let target = format!("{address}:{port}");
    let failed = |error: &dyn std::fmt::Display| format!("failed to connect service {target:?}: {error}");
    let stream = TcpStream::connect((address, port)).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let request = Request::post(format!("http://{target}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(frame(service)))
        .map_err(|error| failed(&error))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
        if let Some(code) = answer.headers().get("grpc-status").filter(|code| *code != "0") {
            return Err(format!("health rpc failed: code {code:?}"));
        }
        let body =
            Limited::new(answer.into_body(), PROBE_OUTPUT_MAX).collect().await.map_err(|error| failed(&error))?;
        if let Some(code) = body.trailers().and_then(|trailers| trailers.get("grpc-status")).filter(|code| *code != "0")
        {
            return Err(format!("health rpc failed: code {code:?}"));
        }
        status(&body.to_bytes()).ok_or_else(|| "health rpc failed: the answer is no HealthCheckResponse".to_owned())
    };
    tokio::select! {
        answer = exchange => answer,
        end = connection => Err(match end {
            Ok(()) => failed(&"the connection was closed"),
            Err(error) => failed(&error),
        }),
    }
}

/// A `HealthCheckRequest` in its gRPC frame.
fn frame(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put(message);
    frame.freeze()
}

fn put_varint(buffer: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// The status in a framed `HealthCheckResponse`; an empty message is `UNKNOWN`.
fn status(frame: &[u8]) -> Option<u64> {
    let length = u32::from_be_bytes(frame.get(1..5)?.try_into().ok()?);
    let message = frame.get(5..5 + length as usize)?;
    match message {
        [] => Some(0),
        [0x08, value, ..] if *value < 0x80 => Some(u64::from(*value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed() {
        assert_eq!(&frame("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&frame("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        for (bytes, expected) in [
            (&[0, 0, 0, 0, 0][..], Some(0)),
            (&[0, 0, 0, 0, 2, 8, 1], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 9, 8, 1], None),
            (&[], None),
        ] {
            assert_eq!(status(bytes), expected);
        }
    }
}
