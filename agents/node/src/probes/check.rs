//! One question to a container, by whatever its probe names.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::net::TcpStream;

use super::{
    exec, grpc,
    http::{self, HttpRequest},
};
use crate::{containers::SharedContainers, env::port};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Healthy,
    /// Healthy, with something to say.
    Warning(String),
    Unhealthy(String),
    /// The question could not be put.
    Error(String),
}

impl Outcome {
    pub fn is_healthy(&self) -> bool {
        matches!(self, Outcome::Healthy | Outcome::Warning(_))
    }
}

/// How to reach one attempt of one container.
#[derive(Clone)]
pub struct Checker {
    pub containers: SharedContainers,
    pub sandbox: String,
    /// As the runtime knows it.
    pub id: String,
    pub container: Container,
    pub address: IpAddr,
}

impl Checker {
    pub async fn check(&self, probe: &Probe) -> Outcome {
        if let Some(action) = &probe.exec {
            let command = action.command.clone().unwrap_or_default();
            return exec::check(&self.containers, &self.sandbox, &self.id, command).await;
        }
        if let Some(action) = &probe.http_get {
            return match HttpRequest::of(action, &self.container, self.address) {
                Ok(request) => http::check(&request).await,
                Err(message) => Outcome::Error(message),
            };
        }
        if let Some(action) = &probe.tcp_socket {
            let Some(port) = port(&self.container, &action.port) else {
                return Outcome::Error(format!("the container has no port {:?}", action.port));
            };
            let host = action.host.clone().filter(|host| !host.is_empty()).unwrap_or(self.address.to_string());
            return match TcpStream::connect((host.as_str(), port)).await {
                Ok(_) => Outcome::Healthy,
                Err(error) => Outcome::Unhealthy(format!("dial tcp {host}:{port}: {error}")),
            };
        }
        if let Some(action) = &probe.grpc {
            let Ok(port) = u16::try_from(action.port) else {
                return Outcome::Error(format!("{} is no port", action.port));
            };
            return grpc::check(self.address, port, action.service.as_deref().unwrap_or_default()).await;
        }
        Outcome::Error("missing probe handler".to_owned())
    }
}
