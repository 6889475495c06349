//! One request on its way to the server of an API, and back.
//!
//! The other server believes the headers that name who asks, because they come by a certificate that only servers of the
//! cluster have. So whatever a client itself says in such headers is taken out first.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use kontiki_model::Status;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    apis::{Api, Backing},
    waiting::Connection,
};
use crate::{
    content,
    core::Core,
    failure, limits,
    proxy::{self, Outgoing, Rewrite, Unanswered, Unsent, remove_all},
    request::{ApiRequest, ApiResponse, Identity},
    services::{self, Address},
    sockets,
};

const FORWARDED_FOR: &str = "x-forwarded-for";
pub const USER: &str = "x-remote-user";
pub const UID: &str = "x-remote-uid";
pub const GROUP: &str = "x-remote-group";
pub const EXTRA: &str = "x-remote-extra-";

/// Why the other server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    #[error(transparent)]
    Trust(#[from] services::TrustError),
    #[error(transparent)]
    Service(#[from] services::Unresolved),
    #[error("error trying to reach service: {0}")]
    Connection(#[from] std::io::Error),
    #[error("error trying to reach service: {0}")]
    Unanswered(#[from] Unanswered),
}

/// Passes the request on to the API's server, and answers with what it says. `from` is where it came from.
pub(crate) async fn forward(
    core: &Arc<Core>,
    api: &Api,
    request: ApiRequest,
    from: Option<IpAddr>,
) -> Result<ApiResponse, Status> {
    let Some(backing) = api.backing.as_ref().filter(|_| api.available) else {
        return Ok(told(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"));
    };
    let tls = match core.aggregation.connector(api) {
        Ok(tls) => tls,
        Err(error) => return Ok(told(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())),
    };
    let target = match request.raw_query.as_str() {
        "" => request.path.clone(),
        query => format!("{}?{query}", request.path),
    };
    let (identity, path) = (request.identity.clone(), request.path.clone());
    let mut outgoing = Outgoing::new(request, &target, "")?;
    identify(outgoing.request.headers_mut(), &identity)?;
    Rewrite { prefix: "", asked: "", host: "" }.request(&path, outgoing.request.headers_mut());
    trace(outgoing.request.headers_mut(), from);
    let (mut response, host) = match exchange(core, backing, &tls, outgoing).await {
        Ok(answered) => answered,
        Err(Unreached::Service(error)) => {
            tracing::warn!(api = api.name, %error, "the service of an aggregated API cannot be resolved");
            return Ok(told(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"));
        }
        Err(error) => return Ok(told(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())),
    };
    if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) {
        let message = "the backend attempted to redirect this request, which is not permitted";
        return Ok(told(StatusCode::BAD_GATEWAY, message));
    }
    Rewrite { prefix: "", asked: "", host: &host }.response(response.headers_mut());
    Ok(response)
}

/// Sends the request by a connection that waits for one, or else by a new one, and says whom it reached. That a connection had ended
/// meanwhile shows when it is used: what was not sent, or may be sent twice, then goes by a new one.
async fn exchange(
    core: &Arc<Core>,
    backing: &Backing,
    tls: &TlsConnector,
    mut outgoing: Outgoing,
) -> Result<(ApiResponse, String), Unreached> {
    let addresses = services::resolve(&core.log, &backing.service)?;
    let waiting = core.aggregation.waiting(backing);
    if let Some(mut connection) = (!outgoing.switches()).then(|| waiting.take(&addresses)).flatten() {
        let host = connection.address.to_string();
        name_host(outgoing.request.headers_mut(), &host);
        let again = outgoing.again();
        match outgoing.send(&mut connection.sender).await {
            Ok(response) => {
                waiting.keep(core, connection);
                return Ok((response, host));
            }
            Err(unsent) => {
                let Unsent { error, outgoing: whole } = *unsent;
                outgoing = whole.or(again).ok_or(error)?;
            }
        }
    }
    let (stream, address) = connect(&addresses, backing, tls).await?;
    let host = address.to_string();
    name_host(outgoing.request.headers_mut(), &host);
    let mut connection = Connection { sender: proxy::begin(core, stream).await?, address };
    let response = outgoing.send(&mut connection.sender).await.map_err(|unsent| unsent.error)?;
    waiting.keep(core, connection);
    Ok((response, host))
}

/// The host is the one that is asked now.
fn name_host(headers: &mut HeaderMap, host: &str) {
    if let Ok(host) = HeaderValue::from_str(host) {
        headers.insert(header::HOST, host.clone());
        headers.insert("x-forwarded-host", host);
    }
}

/// Says which way the request came, as kube-aggregator does: who came from where stands behind what others said of the way before.
fn trace(headers: &mut HeaderMap, from: Option<IpAddr>) {
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    let Some(from) = from else { return };
    let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let way = before.map(str::to_owned).chain([from.to_string()]).collect::<Vec<_>>().join(", ");
    if let Ok(way) = HeaderValue::from_str(&way) {
        headers.insert(FORWARDED_FOR, way);
    }
}

/// A connection to the server behind an API, and where it leads.
pub async fn connect(
    addresses: &[Address],
    backing: &Backing,
    tls: &TlsConnector,
) -> Result<(TlsStream<TcpStream>, Address), Unreached> {
    let (stream, address) = services::connect(addresses).await?;
    sockets::expect_acknowledgement(&stream)?;
    let name = ServerName::try_from(backing.service.server_name());
    let name = name.map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
    let shaking = tokio::time::timeout(limits::SERVICE_CONNECT_TIME_MAX, tls.connect(name, stream));
    let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "no TLS handshake in time");
    Ok((shaking.await.map_err(late)??, address))
}

/// Says who asks, and nothing else of the kind. Who cannot be told exactly as they are is refused: a header's value loses the
/// blanks around it, and somebody else may be called what is left.
pub fn identify(headers: &mut HeaderMap, identity: &Identity) -> Result<(), Status> {
    remove_all(headers, |name| {
        let name = name.as_str();
        matches!(name, USER | UID | GROUP) || name.starts_with(EXTRA)
    });
    let mut add = |name: &str, value: &str| {
        let pair = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()));
        match pair {
            (Ok(name), Ok(header)) if value.trim() == value => {
                headers.append(name, header);
                Ok(())
            }
            _ => Err(failure::bad_request(format!("{value:?} cannot be told to the server of this API"))),
        }
    };
    add(USER, &identity.user)?;
    if !identity.uid.is_empty() {
        add(UID, &identity.uid)?;
    }
    for group in &identity.groups {
        add(GROUP, group)?;
    }
    for (key, values) in &identity.extra {
        let name = format!("{EXTRA}{}", escape(key));
        for value in values {
            add(&name, value)?;
        }
    }
    Ok(())
}

/// A key as part of a header's name: what no name may have is percent-encoded, and so is the percent sign.
fn escape(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    for byte in key.bytes() {
        let kept = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        match kept {
            true => escaped.push(char::from(byte)),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// As Kubernetes' aggregator tells its own failures: in plain words.
fn told(code: StatusCode, message: &str) -> ApiResponse {
    let mut response = content::text(code, format!("{message}\n"));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_told_exactly_is_not_told() {
        let refusal = |identity: Identity| identify(&mut HeaderMap::new(), &identity).err().map(|status| status.code);
        let named = |user: &str| Identity { user: user.to_owned(), ..Identity::default() };
        assert_eq!(refusal(named("jane")), None);
        for user in [" jane", "jane ", "jane\t", "ja\nne"] {
            assert_eq!(refusal(named(user)), Some(400), "{user:?}");
        }
        assert_eq!(refusal(Identity { groups: vec!["admins ".to_owned()], ..named("jane") }), Some(400));
        let extra = vec![("scopes".to_owned(), vec![" all".to_owned()])];
        assert_eq!(refusal(Identity { extra, ..named("jane") }), Some(400));
    }

    #[test]
    fn nobody_names_themselves() {
        let mut headers = HeaderMap::new();
        for name in [USER, UID, GROUP, "x-remote-extra-scopes", "x-other"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("root"));
        }
        let identity = Identity {
            user: "jane".to_owned(),
            groups: vec!["a".to_owned(), "b".to_owned()],
            extra: vec![("example.com/Über%".to_owned(), vec!["1".to_owned(), "2".to_owned()])],
            ..Identity::default()
        };
        identify(&mut headers, &identity).unwrap();
        let all: Vec<(String, &str)> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default())).collect();
        let of = |name: &str| all.iter().filter(|(one, _)| one == name).map(|(_, value)| *value).collect::<Vec<_>>();
        assert_eq!((of(USER), of(UID), of(GROUP)), (vec!["jane"], vec![], vec!["a", "b"]));
        assert_eq!(of("x-remote-extra-example.com%2f%c3%9cber%25"), ["1", "2"]);
        assert_eq!(all.len(), 6, "{all:?}");
    }
}
