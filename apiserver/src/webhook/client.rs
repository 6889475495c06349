//! One call: a POST of JSON, answered within its time by JSON. Connections are kept for the next call to the same webhook.

use std::{
    collections::HashMap,
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioTimer},
};
use kontiki_raft::Log;

use super::{
    Unanswered,
    address::ClientConfig,
    connect::{Connector, DialError},
    limits::{ANSWER_BYTES_MAX, CLIENTS_MAX, IDLE_CONNECTIONS_MAX, IDLE_TIME_MAX},
    refusal,
};

type HttpClient = Client<Connector, Full<Bytes>>;

/// The webhooks that were asked lately, each with its connections.
pub(crate) struct Webhooks {
    log: Log,
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    by_config: HashMap<Arc<ClientConfig>, (HttpClient, u64)>,
    /// Counts the calls: who was asked least recently has the smallest number.
    calls: u64,
}

impl Webhooks {
    pub fn new(log: Log) -> Self {
        Webhooks { log, clients: Mutex::new(Clients::default()) }
    }

    /// Asks a webhook. `patience` is how long the call may take, connecting included.
    pub async fn ask(&self, config: &ClientConfig, body: Vec<u8>, patience: Duration) -> Result<Bytes, Unanswered> {
        let url = config.url(&format!("timeout={}s", patience.as_secs_f64().ceil()));
        let transport = |why: String| Unanswered::because(format!("Post {url:?}: {why}"));
        let request = Request::builder()
            .method(Method::POST)
            .uri(&url)
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, HeaderValue::from_static("kontiki-server"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| transport(error.to_string()))?;
        let client = self.client(config);
        let answered = async {
            let response = client.request(request).await.map_err(|error| transport(words(&error)))?;
            let (parts, body) = response.into_parts();
            match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
                Ok(collected) => Ok((parts.status, parts.headers, collected.to_bytes())),
                Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
                    Err(Unanswered::because(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes")))
                }
                Err(error) => Err(Unanswered::because(format!("the answer broke off: {error}"))),
            }
        };
        let late = |_| transport("context deadline exceeded".to_owned());
        let (code, headers, body) = tokio::time::timeout(patience, answered).await.map_err(late)??;
        checked(code, &headers, body)
    }

    fn client(&self, config: &ClientConfig) -> HttpClient {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let Clients { by_config, calls } = &mut *clients;
        *calls += 1;
        if let Some((client, last)) = by_config.get_mut(config) {
            *last = *calls;
            return client.clone();
        }
        if by_config.len() >= CLIENTS_MAX {
            let oldest = by_config.iter().min_by_key(|(_, (_, last))| *last).map(|(config, _)| config.clone());
            oldest.map(|oldest| by_config.remove(&oldest));
        }
        let config = Arc::new(config.clone());
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(Connector::new(self.log.clone(), config.clone()));
        by_config.insert(config, (client.clone(), *calls));
        client
    }
}

fn checked(code: StatusCode, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Unanswered> {
    // As client-go: 200 to 206.
    if !(200..=206).contains(&code.as_u16()) {
        return Err(refusal::told(code, headers, &body));
    }
    if body.is_empty() {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let code = code.as_u16();
        return Err(Unanswered::because(format!(
            "0-length response with status code: {code} and content type: {kind}"
        )));
    }
    Ok(body)
}

/// Why there was no exchange: the connector's own words, or hyper's innermost ones.
fn words(error: &legacy::Error) -> String {
    let mut cause = error.source();
    let mut innermost = error.to_string();
    while let Some(inner) = cause {
        if let Some(DialError(why)) = inner.downcast_ref::<DialError>() {
            return why.clone();
        }
        if let Some(hyper) = inner.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed())
        {
            return "EOF".to_owned();
        }
        innermost = inner.to_string();
        cause = inner.source();
    }
    innermost
}
