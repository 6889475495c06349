//! Exec, attach and port-forward: what is asked and whether it can be, before a connection leaves HTTP for them.

mod command;
mod ending;
mod forward;
mod process;
mod spdy_command;
mod spdy_forward;
mod tunnel;
mod upgrade;
mod websocket;

use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Container;
use serde_json::Value;

use self::{
    process::{Until, Wanted},
    upgrade::{Agreed, Offer},
    websocket::Codec,
};
use super::{
    backend::Place,
    body::Body,
    failure::{self, Refused},
    limits,
    query::Query,
    route::{ContainerName, PodName},
    service::Service,
    target,
};
use crate::{containers, pod};

/// Who names no sub-protocol speaks the first one.
const UNNAMED: &str = "";
const V1: &str = "channel.k8s.io";
const V1_BASE64: &str = "base64.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
const V4_BASE64: &str = "v4.base64.channel.k8s.io";
const V5: &str = "v5.channel.k8s.io";
const PORT_FORWARD_SPDY: &str = "portforward.k8s.io";
const PORT_FORWARD_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const COMMAND: Offer = Offer { websocket: &[V5, V4, V4_BASE64, V1, V1_BASE64, UNNAMED], spdy: &[V4] };
const PORT_FORWARD: Offer =
    Offer { websocket: &[PORT_FORWARD_TUNNEL, V4, V4_BASE64, UNNAMED], spdy: &[PORT_FORWARD_SPDY] };

/// Runs a command in a container and gives its streams to the client.
pub async fn exec(
    service: &Service,
    name: &ContainerName,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let query = Query::parse(request.uri().query());
    let args: Vec<String> = query.all("command").map(str::to_owned).collect();
    if args.is_empty() {
        return Err(failure::bad_request("you must specify at least 1 command for the exec"));
    }
    if args.len() > limits::COMMAND_ARGS_MAX {
        return Err(failure::bad_request(format!("a command has at most {} arguments", limits::COMMAND_ARGS_MAX)));
    }
    let tty = query.flag("tty");
    let wanted = wanted(&query, tty)?;
    let place = running(service, name)?;
    let agreed = COMMAND.agree(request.headers())?;
    let backend = service.backend.clone();
    let command = containers::Command { args, stdin: wanted.stdin, tty, own: false };
    let session = async move |client: &mut process::Client| {
        let args = command.args.clone();
        let outcome = match backend.exec(&place, command).await {
            Ok(session) => process::carry(session, client, Until::Exit).await?,
            Err(refusal) => Err(refusal),
        };
        Some(told(agreed, &ending::exec_status(&args, &outcome)))
    };
    upgrade::switch(service, agreed, request, move |upgraded| carry(upgraded, agreed, wanted, session))
}

/// Gives the streams of the container's own process to the client.
pub async fn attach(
    service: &Service,
    name: &ContainerName,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let query = Query::parse(request.uri().query());
    let pod = service.pod(&name.pod)?;
    let spec = pod::spec(&pod);
    let container = pod::container(&spec, &name.container);
    let has = |flag: fn(&Container) -> Option<bool>| container.as_deref().and_then(flag) == Some(true);
    let mut wanted = wanted(&query, has(|container| container.tty))?;
    wanted.stdin &= has(|container| container.stdin);
    let place = running(service, name)?;
    let agreed = COMMAND.agree(request.headers())?;
    let backend = service.backend.clone();
    let session = async move |client: &mut process::Client| {
        let outcome = match backend.attach(&place, wanted.stdin).await {
            Ok(session) => process::carry(session, client, Until::OutputEnds).await?,
            Err(refusal) => Err(refusal),
        };
        Some(told(agreed, &ending::attach_status(&outcome)))
    };
    upgrade::switch(service, agreed, request, move |upgraded| carry(upgraded, agreed, wanted, session))
}

/// Connects the client to ports of a pod.
pub async fn port_forward(
    service: &Service,
    name: &PodName,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let pod = service.pod(name)?;
    if pod::is_terminal(Some(pod::phase(&pod))) || pod::phase(&pod) != "Running" {
        let message = format!("unable to forward port because pod is not running. Current status={}", pod::phase(&pod));
        return Err(failure::bad_request(message));
    }
    let agreed = PORT_FORWARD.agree(request.headers())?;
    // Over SPDY each connection names its own port.
    let ports = match agreed {
        Agreed::WebSocket(PORT_FORWARD_TUNNEL) | Agreed::Spdy(_) => Vec::new(),
        Agreed::WebSocket(_) => forward::ports(&Query::parse(request.uri().query()))?,
    };
    let backend = service.backend.clone();
    upgrade::switch(service, agreed, request, move |upgraded| async move {
        match agreed {
            Agreed::WebSocket(PORT_FORWARD_TUNNEL) => {
                tunnel::serve(upgraded, |inside| spdy_forward::serve(inside, backend, pod)).await;
            }
            Agreed::WebSocket(protocol) => forward::serve(upgraded, codec(protocol), &*backend, &pod, &ports).await,
            Agreed::Spdy(_) => spdy_forward::serve(TokioIo::new(upgraded), backend, pod).await,
        }
    })
}

async fn carry(
    upgraded: Upgraded,
    agreed: Agreed,
    wanted: Wanted,
    session: impl AsyncFnOnce(&mut process::Client) -> Option<Bytes>,
) {
    match agreed {
        Agreed::WebSocket(protocol) => command::serve(upgraded, codec(protocol), wanted, session).await,
        Agreed::Spdy(_) => spdy_command::serve(TokioIo::new(upgraded), wanted, session).await,
    }
}

fn codec(protocol: &str) -> Codec {
    if matches!(protocol, V1_BASE64 | V4_BASE64) { Codec::Base64 } else { Codec::Binary }
}

/// How a session ended, in the form of the protocol. The first one tells failures alone.
fn told(agreed: Agreed, status: &Value) -> Bytes {
    match agreed {
        Agreed::WebSocket(UNNAMED | V1 | V1_BASE64) => ending::failure(status).into(),
        Agreed::WebSocket(_) | Agreed::Spdy(_) => status.to_string().into(),
    }
}

/// The streams that are asked for, by the API server's names or the kubelet's own.
fn wanted(query: &Query<'_>, tty: bool) -> Result<Wanted, Refused> {
    let flag = |name: &str, own: &str| query.flag(name) || query.flag(own);
    // A terminal has one stream for all output.
    let wanted = Wanted {
        stdin: flag("stdin", "input"),
        stdout: flag("stdout", "output"),
        stderr: flag("stderr", "error") && !tty,
    };
    match wanted {
        Wanted { stdin: false, stdout: false, stderr: false } => {
            Err(failure::bad_request("you must specify at least 1 of stdin, stdout, stderr"))
        }
        _ => Ok(wanted),
    }
}

fn running(service: &Service, name: &ContainerName) -> Result<Place, Refused> {
    let pod = service.pod(&name.pod)?;
    let container_id = target::running(&pod, &name.container)?;
    let gone = || failure::not_running(&name.container);
    service.backend.place(&pod, container_id).ok_or_else(gone)
}
