//! One question of this server itself to the server of an API, and its answer: whole, and soon.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use tokio_rustls::TlsConnector;

use super::{
    apis::Backing,
    forward::{Unreached, connect, identify},
};
use crate::{
    authn::MASTERS,
    bootstrap,
    core::Core,
    limits,
    proxy::{Outgoing, Unanswered},
    request::Identity,
    services,
};

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error(transparent)]
    Unreached(#[from] Unreached),
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("{0}")]
    Broken(String),
    #[error("timed out waiting for {0}")]
    Late(String),
}

/// Asks as the aggregator, who may see whatever there is.
pub async fn ask(
    core: &Arc<Core>,
    backing: &Backing,
    tls: &TlsConnector,
    path: &str,
    accept: &'static str,
) -> Result<Answer, NoAnswer> {
    let asking = async {
        let addresses = services::resolve(&core.log, &backing.service).map_err(Unreached::from)?;
        let (stream, address) = connect(&addresses, backing, tls).await?;
        let host = address.to_string();
        let request = bootstrap::own_request(Method::GET, String::new());
        let refused = |status: kontiki_model::Status| NoAnswer::Broken(status.message);
        let mut outgoing = Outgoing::new(request, path, &host).map_err(refused)?;
        let headers = outgoing.request.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        let user = "system:kube-aggregator".to_owned();
        let own = Identity { user, groups: vec![MASTERS.to_owned()], ..Identity::default() };
        identify(headers, &own).map_err(refused)?;
        let (parts, body) = outgoing.exchange(core, stream).await?.into_parts();
        let body = Limited::new(body, limits::AGGREGATED_DOCUMENT_BYTES_MAX).collect().await;
        let body = body.map_err(|error| NoAnswer::Broken(error.to_string()))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    };
    let outcome = tokio::time::timeout(limits::AGGREGATED_ANSWER_TIME_MAX, asking).await;
    outcome.unwrap_or_else(|_| Err(NoAnswer::Late(path.to_owned())))
}
