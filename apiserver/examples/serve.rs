//! An API server and nothing else: no controllers, no scheduler, no node. For replaying recorded requests.
//!
//! `cargo run -p kontiki-apiserver --example serve -- DIRECTORY [ADDRESS [SEATS]]` keeps everything below the directory and
//! prints where it listens; the operator's credentials are in `DIRECTORY/pki`.

use std::{net::SocketAddr, path::PathBuf};

use kontiki_apiserver::{ApiServer, Config, pki::Cluster};
use kontiki_raft::{Log, LogConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("give a directory")?);
    let listen: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned()).parse()?;
    let log = Log::open(LogConfig::new(dir.join("log"))).await?;
    let mut config = Config::new(listen, listen.ip(), dir.join("pki"));
    if let Some(seats) = arguments.next() {
        config.seats = seats.parse()?;
    }
    let server = ApiServer::start(config, log.clone()).await?;
    let url = format!("https://{}", server.local_address());
    std::fs::write(
        dir.join("kubeconfig"),
        server.kubeconfig(&[Cluster { name: "kontiki".to_owned(), url: url.clone() }])?,
    )?;
    println!("{url}");
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    log.shutdown().await;
    Ok(())
}
