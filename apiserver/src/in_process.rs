//! Asking the API server from within the process: a tower service, no socket, no TLS; everything else is as for any client.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;

use crate::{
    authn,
    handler::{Caller, Handler, Incoming},
    request::{ApiResponse, BodyError, Identity},
};

/// A client of this server under one identity. `kube::Client::new(service, "default")` takes it, bodies mapped.
///
/// It is authorized and admitted as any other client. Its writes are stamped with the identity's term, if it has one.
/// It cannot switch protocols.
#[derive(Clone)]
pub struct InProcess {
    handler: Arc<Handler>,
    identity: Arc<Identity>,
}

impl InProcess {
    pub(crate) fn new(handler: Arc<Handler>, identity: Identity) -> Self {
        InProcess { handler, identity: Arc::new(authn::with_authenticated(identity)) }
    }
}

impl<B> tower_service::Service<http::Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = ApiResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<ApiResponse, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let incoming = Incoming {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            raw_query: parts.uri.query().unwrap_or("").to_owned(),
            headers: parts.headers,
            body: Some(body.map_err(BodyError::new).boxed_unsync()),
            upgrade: None,
            caller: Caller::InProcess(self.identity.clone()),
        };
        let handler = self.handler.clone();
        Box::pin(async move { Ok(handler.answer(incoming).await) })
    }
}
