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

use super::apis::{Api, Backing};
use crate::{
    content,
    core::Core,
    failure, limits,
    proxy::{Outgoing, Rewrite, remove_all},
    request::{ApiRequest, ApiResponse, Identity},
    services,
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
    let (stream, host) = match connect(core, backing, &tls).await {
        Ok(connected) => connected,
        Err(Unreached::Service(error)) => {
            tracing::warn!(api = api.name, %error, "the service of an aggregated API cannot be resolved");
            return Ok(told(StatusCode::SERVICE_UNAVAILABLE, "service unavailable"));
        }
        Err(error) => return Ok(told(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())),
    };
    let target = match request.raw_query.as_str() {
        "" => request.path.clone(),
        query => format!("{}?{query}", request.path),
    };
    let (identity, path) = (request.identity.clone(), request.path.clone());
    let mut outgoing = Outgoing::new(request, &target, &host)?;
    identify(outgoing.request.headers_mut(), &identity)?;
    let rewrite = Rewrite { prefix: "", asked: "", host: &host };
    rewrite.request(&path, outgoing.request.headers_mut());
    trace(outgoing.request.headers_mut(), &host, from);
    match outgoing.exchange(core, stream).await {
        Err(error) => Ok(told(StatusCode::SERVICE_UNAVAILABLE, &format!("error trying to reach service: {error}"))),
        Ok(response) if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) => {
            let message = "the backend attempted to redirect this request, which is not permitted";
            Ok(told(StatusCode::BAD_GATEWAY, message))
        }
        Ok(mut response) => {
            rewrite.response(response.headers_mut());
            Ok(response)
        }
    }
}

/// Says which way the request came, as kube-aggregator does: the host is the one that is asked now, and who came from where stands
/// behind what others said of the way before.
fn trace(headers: &mut HeaderMap, host: &str, from: Option<IpAddr>) {
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    if let Ok(host) = HeaderValue::from_str(host) {
        headers.insert("x-forwarded-host", host);
    }
    let Some(from) = from else { return };
    let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let way = before.map(str::to_owned).chain([from.to_string()]).collect::<Vec<_>>().join(", ");
    if let Ok(way) = HeaderValue::from_str(&way) {
        headers.insert(FORWARDED_FOR, way);
    }
}

/// A connection to the server behind an API, and the host to name to it.
pub async fn connect(
    core: &Core,
    backing: &Backing,
    tls: &TlsConnector,
) -> Result<(TlsStream<TcpStream>, String), Unreached> {
    let addresses = services::resolve(&core.log, &backing.service)?;
    let (stream, address) = services::connect(&addresses).await?;
    let name = ServerName::try_from(backing.service.server_name());
    let name = name.map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
    let shaking = tokio::time::timeout(limits::SERVICE_CONNECT_TIME_MAX, tls.connect(name, stream));
    let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "no TLS handshake in time");
    Ok((shaking.await.map_err(late)??, address.to_string()))
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
