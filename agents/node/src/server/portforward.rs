//! Port forwarding over WebSocket: two channels for each port, one for data and one for the reason of a failure.

use std::{collections::BTreeMap, sync::Arc};

use http::Request;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::OwnedWriteHalf,
    sync::mpsc,
    task::JoinSet,
};

use super::{
    answer::{Answer, Problem},
    channels::{self, Channels, Incomings, Received, Socket},
    route::Query,
};
use crate::{limits::STREAM_BUFFER, node::NodeContext, pod::PodId};

const PROTOCOLS: [&str; 2] = ["v4.channel.k8s.io", "portforward.k8s.io"];
const PORTS_MAX: usize = 64;
/// Messages on their way to the client.
const MESSAGES_MAX: usize = 16;

pub async fn forward(
    node: Arc<NodeContext>,
    pod: &PodId,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let listed = query.all("ports").into_iter().chain(query.all("port"));
    let ports: Result<Vec<u16>, _> = listed
        .flat_map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>())
        .map(|port| port.parse())
        .collect();
    let ports = ports.map_err(|_| Problem::bad_request("ports must be numbers from 1 to 65535"))?;
    if ports.is_empty() || ports.len() > PORTS_MAX || ports.contains(&0) {
        return Err(Problem::bad_request(format!("give 1 to {PORTS_MAX} ports, as ?ports=80,443")));
    }
    let sandbox = pod.uid.clone();
    channels::upgrade(request, &PROTOCOLS, move |socket, _| serve(node, sandbox, ports, socket))
}

async fn serve(node: Arc<NodeContext>, sandbox: String, ports: Vec<u16>, socket: Socket) {
    let (mut channels, incomings) = channels::split(socket);
    // Each channel begins with its port, so that the client can tell them apart.
    for (index, port) in ports.iter().enumerate() {
        for channel in [2 * index, 2 * index + 1] {
            if channels.send(channel as u8, &port.to_le_bytes()).await.is_err() {
                return;
            }
        }
    }
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let mut failures = Vec::new();
    let mut readers = JoinSet::new();
    let mut writers = BTreeMap::new();
    for (index, port) in ports.iter().enumerate() {
        let data = 2 * index as u8;
        match node.containers.connect(&sandbox, *port).await {
            Ok(stream) => {
                let (mut reading, writing) = stream.into_split();
                writers.insert(data, writing);
                let sender = sender.clone();
                readers.spawn(async move {
                    let mut buffer = vec![0; STREAM_BUFFER];
                    while let Ok(length @ 1..) = reading.read(&mut buffer).await {
                        if sender.send((data, buffer[..length].to_vec())).await.is_err() {
                            return;
                        }
                    }
                });
            }
            Err(refusal) => {
                failures.push((data + 1, format!("error forwarding port {port} to pod: {refusal}")));
            }
        }
    }
    drop(sender);
    for (channel, message) in failures {
        if channels.send(channel, message.as_bytes()).await.is_err() {
            return;
        }
    }
    tokio::select! {
        () = send(channels, receiver) => {}
        () = receive(incomings, writers) => {}
    }
    readers.shutdown().await;
}

/// Sends until every connection has ended.
async fn send(mut channels: Channels, mut messages: mpsc::Receiver<(u8, Vec<u8>)>) {
    while let Some((channel, bytes)) = messages.recv().await {
        if channels.send(channel, &bytes).await.is_err() {
            return;
        }
    }
    channels.close().await;
}

/// Writes what the client sends until it leaves.
async fn receive(mut incomings: Incomings, mut writers: BTreeMap<u8, OwnedWriteHalf>) {
    while let Some(received) = incomings.next().await {
        match received {
            Received::Data { channel, bytes } => {
                if let Some(writer) = writers.get_mut(&channel)
                    && writer.write_all(&bytes).await.is_err()
                {
                    writers.remove(&channel);
                }
            }
            Received::Closed { channel } => drop(writers.remove(&channel)),
        }
    }
}
