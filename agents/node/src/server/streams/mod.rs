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

const V4: &str = "v4.channel.k8s.io";
const V4_BASE64: &str = "v4.base64.channel.k8s.io";
const V5: &str = "v5.channel.k8s.io";
const PORT_FORWARD_SPDY: &str = "portforward.k8s.io";
const PORT_FORWARD_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const COMMAND: Offer = Offer { websocket: &[V5, V4, V4_BASE64], spdy: &[V4] };
const PORT_FORWARD: Offer = Offer { websocket: &[PORT_FORWARD_TUNNEL, V4], spdy: &[PORT_FORWARD_SPDY] };

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
    let command = containers::Command { args, stdin: wanted.stdin, tty };
    let session = async move |client: &mut process::Client| {
        let args = command.args.clone();
        let outcome = match backend.exec(&place, command).await {
            Ok(session) => process::carry(session, client, Until::Exit).await?,
            Err(refusal) => Err(refusal),
        };
        Some(ending::exec_status(&args, &outcome))
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
        Some(ending::attach_status(&outcome))
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
        Agreed::WebSocket(V4) => forward::ports(&Query::parse(request.uri().query()))?,
        Agreed::WebSocket(_) | Agreed::Spdy(_) => Vec::new(),
    };
    let backend = service.backend.clone();
    upgrade::switch(service, agreed, request, move |upgraded| async move {
        match agreed {
            Agreed::WebSocket(V4) => forward::serve(upgraded, &*backend, &pod, &ports).await,
            Agreed::WebSocket(_) => {
                tunnel::serve(upgraded, |inside| spdy_forward::serve(inside, backend, pod)).await;
            }
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
        Agreed::WebSocket(V4_BASE64) => command::serve(upgraded, Codec::Base64, wanted, session).await,
        Agreed::WebSocket(_) => command::serve(upgraded, Codec::Binary, wanted, session).await,
        Agreed::Spdy(_) => spdy_command::serve(TokioIo::new(upgraded), wanted, session).await,
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
    let gone = || failure::internal(&format!("container not found ({:?})", name.container));
    service.backend.place(&pod, container_id).ok_or_else(gone)
}
