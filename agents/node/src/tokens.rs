//! Service account tokens for projected volumes: asked of the API, bound to the pod, renewed in time.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
};
use kube::{Api, Client, api::PostParams};

use crate::{
    clock::{Millis, millis},
    pod::{self, PodId},
    volumes::{Token, TokenKey, renew_at_ms, tokens_of},
};

/// Brings `tokens` up to date with what the pod's volumes need; keeps those that are fresh.
pub async fn refresh(
    client: &Client,
    pod: &Pod,
    tokens: &mut BTreeMap<TokenKey, Token>,
    now_ms: Millis,
) -> Result<(), String> {
    let wanted = tokens_of(pod);
    tokens.retain(|key, _| wanted.contains(key));
    for key in wanted {
        if tokens.get(&key).is_some_and(|token| now_ms < renew_at_ms(token)) {
            continue;
        }
        let token = issue(client, pod, &key, now_ms).await?;
        tokens.insert(key, token);
    }
    Ok(())
}

async fn issue(client: &Client, pod: &Pod, key: &TokenKey, now_ms: Millis) -> Result<Token, String> {
    let id = PodId::of(pod);
    let account = pod::spec(pod).service_account_name.filter(|name| !name.is_empty()).unwrap_or("default".to_owned());
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: key.audience.clone().map(|audience| vec![audience]),
            expiration_seconds: Some(key.expiration_s),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(id.name),
                uid: Some(id.uid),
            }),
        }),
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &id.namespace);
    let failed = |error: String| format!("failed to fetch token: {error}");
    let answer: TokenRequest = api
        .create_subresource("token", &account, &PostParams::default(), &request)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let status = answer.status.unwrap_or_default();
    let (Some(text), Some(expires)) = (status.token, status.expiration_timestamp) else {
        return Err(failed("the API server answered without a token".to_owned()));
    };
    Ok(Token { text, issued_ms: now_ms, expires_ms: millis(&expires) })
}
