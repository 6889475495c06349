//! Connections to what is behind an object: whether one may be made is asked of those that users configured, who are shown what it
//! is to be.

use kontiki_kinds::Subresource;
use kontiki_model::{Key, Status};
use serde_json::{Value, json};

use super::super::{call::Call, object, store};
use crate::{
    admission::{self, Operation},
    failure::{self, Qualified},
    request::ApiRequest,
};

/// Refuses a connection, or says what is to be told with it.
pub async fn admit(call: &Call<'_>, subresource: Subresource) -> Result<Vec<String>, Status> {
    match options(call, subresource) {
        Some(mut options) => admission::posted(call, Operation::Connect, call.name()?, &mut options, false).await,
        None => Ok(Vec::new()),
    }
}

/// An object that is on the way, as it is now.
pub async fn object(call: &Call<'_>, of: Qualified<'static>, name: &str) -> Result<Value, Status> {
    store::barrier(call.core).await?;
    let key = Key::new(of.to_string(), call.namespace(), name);
    let stored = call.core.log.get(&key).map_err(|error| store::read_failed(&error))?;
    object::open(&stored.ok_or_else(|| failure::not_found(of, name))?)
}

/// What a connection is asked for, as an object; none where nothing is connected.
fn options(call: &Call<'_>, subresource: Subresource) -> Option<Value> {
    let (.., kind) = subresource.response_kind()?;
    let request = call.request;
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    let all = |name: &str| -> Vec<&str> {
        request.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    };
    match subresource {
        Subresource::PortForward => {
            let ports: Vec<u64> =
                all("ports").iter().flat_map(|ports| ports.split(',')).filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                options["ports"] = ports.into();
            }
        }
        proxy if proxy.is_proxy() => options["path"] = call.route.rest.as_str().into(),
        _ => {
            for (name, wanted) in streams(request).into_iter().filter(|(_, wanted)| *wanted) {
                options[name] = wanted.into();
            }
            if let Some(container) = request.query_value("container").filter(|name| !name.is_empty()) {
                options["container"] = container.into();
            }
            if subresource == Subresource::Exec {
                options["command"] = all("command").into();
            }
        }
    }
    Some(options)
}

/// The streams of `exec` and `attach` as options name them.
pub fn streams(request: &ApiRequest) -> [(&'static str, bool); 4] {
    // Output is on unless it is switched off, as the options' defaults have it.
    let output = |name: &str| request.query_value(name).is_none() || request.query_flag(name);
    [
        ("stdin", request.query_flag("stdin")),
        ("stdout", output("stdout")),
        ("stderr", output("stderr")),
        ("tty", request.query_flag("tty")),
    ]
}
