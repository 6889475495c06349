//! Kontiki's log alone, behind etcd's `KV.Put`: what `make bench` compares with etcd. Three of them form a cluster over plain
//! TCP. `GET /status` tells who leads, `POST /members/<id>/<name>/<host:port>` adds a server.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Parser;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use kontiki_bench::grpc;
use kontiki_model::{Head, Key};
use kontiki_raft::{Command, Dial, Log, LogConfig, Member, Mutation, PeerStream, Start};
use tokio::net::{TcpListener, TcpStream};

/// As the `kontiki` binary has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    name: String,
    /// host:port for clients
    #[arg(long)]
    listen: String,
    /// host:port for the other servers
    #[arg(long)]
    peers: String,
    /// Wait to be added to a cluster
    #[arg(long)]
    join: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (clients, peers) = (TcpListener::bind(&arguments.listen).await?, TcpListener::bind(&arguments.peers).await?);
    let mut config = LogConfig::new(&arguments.dir);
    config.member = Member { name: arguments.name, address: arguments.peers };
    config.start = if arguments.join { Start::Join } else { Start::Alone };
    config.dial = Some(std::sync::Arc::new(PlainTcp));
    let log = Log::open(config).await?;
    let accepting = log.clone();
    tokio::spawn(async move {
        loop {
            let stream = accept(&peers).await;
            let log = accepting.clone();
            tokio::spawn(async move { log.accept_peer(Box::new(stream), None).await });
        }
    });
    loop {
        let stream = accept(&clients).await;
        let log = log.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let log = log.clone();
                async move { Ok::<_, Infallible>(answer(&log, request).await) }
            });
            // A client that goes away is no fault.
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.is_ok()
        });
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await.and_then(|(stream, _)| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => return stream,
            Err(error) => eprintln!("accepting: {error}"),
        }
    }
}

struct PlainTcp;

impl Dial for PlainTcp {
    fn dial(&self, member: &Member) -> BoxFuture<'static, io::Result<Box<dyn PeerStream>>> {
        let address = member.address.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn PeerStream>)
        }
        .boxed()
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(log: &Log, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let answered = match (request.method(), path.as_str()) {
        (&Method::POST, grpc::PUT) => put(log, request).await.map(|()| put_response()),
        (&Method::GET, "/status") => Ok(status(log)),
        (&Method::POST, path) => add_member(log, path).await.map(|()| status(log)),
        _ => Err(anyhow::anyhow!("no such path")),
    };
    answered.unwrap_or_else(|error| {
        let mut response = Response::new(Full::from(format!("{error:#}\n")).boxed_unsync());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

async fn put(log: &Log, request: Request<Incoming>) -> Result<()> {
    let framed = request.into_body().collect().await?.to_bytes();
    let (key, value) = grpc::read_put_request(&framed)?;
    let name = std::str::from_utf8(key)?.rsplit('/').next().context("a key without a name")?;
    let head = Head { uid: "7f1f2f6e-0000-4000-8000-000000000000".into(), ..Head::default() };
    let put = Mutation::Put { key: Key::new("configmaps", "default", name), head, body: value.to_vec() };
    log.propose(Command { mutations: vec![put], ..Command::default() }).await?;
    Ok(())
}

fn put_response() -> Response<Body> {
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let frames = [Ok(Frame::data(grpc::empty_message())), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(stream::iter(frames).boxed()).boxed_unsync());
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    response
}

fn status(log: &Log) -> Response<Body> {
    let status = log.status();
    let told = serde_json::json!({"node": log.node_id(), "leader": status.leader, "failure": status.failure});
    Response::new(Full::from(told.to_string()).boxed_unsync())
}

async fn add_member(log: &Log, path: &str) -> Result<()> {
    let parts: Vec<&str> = path.split('/').collect();
    let ["", "members", id, name, address] = parts[..] else { bail!("no such path") };
    log.add_member(id.parse()?, Member { name: name.into(), address: address.into() }).await?;
    Ok(())
}
