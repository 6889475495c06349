//! Port-forward over WebSocket: two channels for each port, one for data and one for the reason of a failure.

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use hyper::upgrade::Upgraded;
use k8s_openapi::api::core::v1::Pod;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    pin,
    sync::mpsc,
};

use super::websocket::{self, Codec, Reading, Received, Writing};
use crate::server::{
    backend::{Backend, Connection},
    failure::{self, Refused},
    limits,
    query::Query,
};

/// `?ports=80,443`, or the kubelet's own `?port=80&port=443`.
pub fn ports(query: &Query<'_>) -> Result<Vec<u16>, Refused> {
    let listed = query.all("ports").chain(query.all("port")).flat_map(|list| list.split(','));
    let ports: Result<Vec<u16>, Refused> = listed
        .map(|port| match port.trim().parse() {
            Ok(0) | Err(_) => Err(failure::bad_request(format!("{port:?} is no port: 1 to 65535"))),
            Ok(port) => Ok(port),
        })
        .collect();
    let ports = ports?;
    match ports.len() {
        0 => Err(failure::bad_request("you must specify at least 1 port")),
        1..=limits::PORTS_MAX => Ok(ports),
        _ => Err(failure::bad_request(format!("at most {} ports can be forwarded at once", limits::PORTS_MAX))),
    }
}

/// What goes to the client: a channel and its bytes.
type Outgoing = mpsc::Sender<(u8, Bytes)>;

/// Carries until the client leaves or all connections have ended.
pub async fn serve(upgraded: Upgraded, codec: Codec, backend: &dyn Backend, pod: &Pod, ports: &[u16]) {
    let (mut writing, mut reading) = websocket::split(websocket::socket(upgraded).await, codec);
    let (outgoing, to_client) = mpsc::channel(limits::STREAM_PIECES_MAX);
    let mut incoming = Vec::new();
    let forwarding = FuturesUnordered::new();
    for (data, port) in (0..).step_by(2).zip(ports.iter().copied()) {
        let (sender, receiver) = mpsc::channel(limits::STREAM_PIECES_MAX);
        incoming.push(Some(sender));
        forwarding.push(forward(backend, pod, port, data, receiver, outgoing.clone()));
    }
    drop(outgoing);
    {
        let working = async { tokio::join!(forwarding.collect::<Vec<()>>(), send(&mut writing, to_client)) };
        let receiving = receive(&mut reading, incoming);
        pin!(working, receiving);
        tokio::select! {
            () = &mut receiving => {}
            _ = &mut working => drop(tokio::time::timeout(limits::CLOSE_MAX, receiving).await),
        }
    }
    websocket::shut(writing, reading).await;
}

async fn forward(
    backend: &dyn Backend,
    pod: &Pod,
    port: u16,
    data: u8,
    from_client: mpsc::Receiver<Bytes>,
    outgoing: Outgoing,
) {
    // Each channel begins with its port, so that the client can tell them apart.
    for channel in [data, data + 1] {
        if outgoing.send((channel, Bytes::copy_from_slice(&port.to_le_bytes()))).await.is_err() {
            return;
        }
    }
    if let Err(message) = connect(backend, pod, port, from_client, &outgoing, |bytes| (data, bytes)).await {
        // A client that has gone need not know.
        let _ = outgoing.send((data + 1, message.into())).await;
    }
}

/// Carries one connection to a port of the pod until it has ended; fails with what the client is to be told. Pieces go to
/// the client as `piece` makes them.
pub async fn connect<T>(
    backend: &dyn Backend,
    pod: &Pod,
    port: u16,
    from_client: mpsc::Receiver<Bytes>,
    outgoing: &mpsc::Sender<T>,
    piece: impl Fn(Bytes) -> T,
) -> Result<(), String> {
    let carried = match backend.connect(pod, port).await {
        Ok(connection) => carry(connection, from_client, outgoing, piece).await.map_err(|error| error.to_string()),
        Err(refusal) => Err(refusal.to_string()),
    };
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    carried.map_err(|reason| format!("error forwarding port {port} to pod {pod}: {reason}"))
}

async fn carry<T>(
    connection: Box<dyn Connection>,
    mut from_client: mpsc::Receiver<Bytes>,
    outgoing: &mpsc::Sender<T>,
    piece: impl Fn(Bytes) -> T,
) -> std::io::Result<()> {
    let (mut read, mut write) = tokio::io::split(connection);
    let inward = async {
        while let Some(bytes) = from_client.recv().await {
            write.write_all(&bytes).await?;
        }
        write.shutdown().await
    };
    let outward = async {
        let mut buffer = vec![0; limits::STREAM_READ_BYTES];
        loop {
            let length = read.read(&mut buffer).await?;
            if length == 0 || outgoing.send(piece(Bytes::copy_from_slice(&buffer[..length]))).await.is_err() {
                return Ok::<_, std::io::Error>(());
            }
        }
    };
    pin!(inward, outward);
    // What listens in the pod has the last word: it may answer after the client has finished asking.
    tokio::select! {
        ended = &mut outward => ended,
        ended = &mut inward => match ended {
            Ok(()) => outward.await,
            Err(error) => Err(error),
        },
    }
}

async fn send(writing: &mut Writing, mut to_client: mpsc::Receiver<(u8, Bytes)>) {
    while let Some((channel, bytes)) = to_client.recv().await {
        if let Err(error) = writing.send(channel, &bytes).await {
            return tracing::debug!(%error, "the client has gone");
        }
    }
    if let Err(error) = writing.close().await {
        tracing::debug!(%error, "the client has gone");
    }
}

/// Gives each port what the client sends for it, until the client leaves.
async fn receive(reading: &mut Reading, mut incoming: Vec<Option<mpsc::Sender<Bytes>>>) {
    while let Some(received) = reading.next().await {
        let (channel, bytes) = match received {
            Received::Data { channel, bytes } => (channel, Some(bytes)),
            Received::Closed { channel } => (channel, None),
        };
        let Some(port) = incoming.get_mut(usize::from(channel / 2)).filter(|_| channel % 2 == 0) else { continue };
        match (bytes, &port) {
            // A connection that has ended takes no more.
            (Some(bytes), Some(sender)) => drop(sender.send(bytes).await),
            (Some(_), None) => {}
            (None, _) => *port = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_a_query() {
        let parse = |query| ports(&Query::parse(Some(query))).map_err(|refused| refused.message);
        assert_eq!(parse("ports=80,443"), Ok(vec![80, 443]));
        assert_eq!(parse("port=80&port=443"), Ok(vec![80, 443]));
        assert_eq!(parse(""), Err("you must specify at least 1 port".into()));
        assert_eq!(parse("ports=0"), Err("\"0\" is no port: 1 to 65535".into()));
        assert_eq!(parse("ports=80,http"), Err("\"http\" is no port: 1 to 65535".into()));
        let many: Vec<String> = (1..=200).map(|port| port.to_string()).collect();
        assert!(parse(&format!("ports={}", many.join(","))).is_err());
    }
}
