//! Secrets of type `kubernetes.io/service-account-token`: filled with a token of the account they name, and gone with it.
//! The token is bound to its Secret: deleting that ends it.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{Secret, ServiceAccount},
    },
};
use kontiki_informer::{Change, Informer, ObjectKey, Queue};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::watcher,
};
use serde_json::json;

use crate::{
    ControllerError,
    context::{Context, gone_is_fine, settled},
};

const WORKERS: usize = 2;
const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
/// As long as the API allows: who wants a token that ends asks for one.
const LIFETIME_S: i64 = 1 << 32;

struct Controller {
    context: Context,
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
}

/// What is to be done about a Secret.
#[derive(Debug, PartialEq)]
enum Verdict {
    Nothing,
    /// Members are missing; with `token`, a token too.
    Fill {
        token: bool,
    },
    /// Its account is not there, or not the one it was made for.
    Remove,
}

pub async fn run(context: Context) {
    let queue: Queue<ObjectKey> = Queue::default();
    let of_secret = queue.clone();
    let secrets = Informer::start(
        Api::all(context.clients.plain()),
        watcher::Config::default().fields(&format!("type={TYPE}")),
        vec![Box::new(move |change: &Change<Secret>| {
            if let Some(secret) = &change.new {
                of_secret.add(ObjectKey::of(&**secret));
            }
        })],
        context.cancel.clone(),
    );
    let (of_account, known) = (queue.clone(), secrets.clone());
    let accounts = context.informer::<ServiceAccount>(vec![Box::new(move |change: &Change<ServiceAccount>| {
        let Some(account) = change.any() else { return };
        let namespace = account.namespace().unwrap_or_default();
        let named = known.list(Some(&namespace)).into_iter().filter(|secret| names(secret) == Some(account.name_any()));
        named.for_each(|secret| of_account.add(ObjectKey::of(&*secret)));
    })]);
    if !secrets.synced().await || !accounts.synced().await {
        return;
    }
    let controller = Arc::new(Controller { context, secrets, accounts });
    let cancel = controller.context.cancel.clone();
    queue
        .drain(WORKERS, cancel, move |key| {
            let controller = controller.clone();
            async move { settled("token", &key, controller.reconcile(&key).await) }
        })
        .await;
}

fn names(secret: &Secret) -> Option<String> {
    secret.annotations().get(NAME).cloned()
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        let Some(secret) = self.secrets.get(key) else { return Ok(()) };
        let Some(name) = names(&secret) else { return Ok(()) };
        let mut account = self.accounts.get(&ObjectKey::new(&key.namespace, &name));
        if account.is_none() {
            // A copy may be behind; what is removed does not come back.
            let api: Api<ServiceAccount> = Api::namespaced(self.context.clients.plain(), &key.namespace);
            account = gone_is_fine(api.get(&name).await)?.map(Arc::new);
        }
        let api = self.context.api::<Secret, _>(&key.namespace, &*secret);
        match verdict(&secret, account.as_deref(), &self.context.config.root_ca) {
            Verdict::Nothing => Ok(()),
            Verdict::Remove => {
                let preconditions = Preconditions { uid: secret.uid(), resource_version: secret.resource_version() };
                let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                gone_is_fine(api.delete(&key.name, &parameters).await)?;
                Ok(())
            }
            Verdict::Fill { token } => {
                let account = account.ok_or_else(|| ControllerError::OwnerGoes(name.clone()))?;
                let mut data = BTreeMap::from([
                    ("ca.crt", ByteString(self.context.config.root_ca.clone().into_bytes())),
                    ("namespace", ByteString(key.namespace.clone().into_bytes())),
                ]);
                if token {
                    data.insert("token", ByteString(self.token(&secret, &account).await?.into_bytes()));
                }
                let version = secret.resource_version();
                let metadata = json!({"resourceVersion": version, "annotations": {UID: account.uid()}});
                let patch = json!({"metadata": metadata, "data": data});
                api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
                Ok(())
            }
        }
    }

    async fn token(&self, secret: &Secret, account: &ServiceAccount) -> Result<String, ControllerError> {
        let api = self.context.api::<ServiceAccount, _>(&secret.namespace().unwrap_or_default(), secret);
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            name: Some(secret.name_any()),
            uid: secret.uid(),
        };
        let spec =
            TokenRequestSpec { audiences: None, bound_object_ref: Some(bound), expiration_seconds: Some(LIFETIME_S) };
        let asked = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let issued = api.create_token_request(&account.name_any(), &PostParams::default(), &asked).await?;
        let token = issued.status.and_then(|status| status.token).filter(|token| !token.is_empty());
        token.ok_or_else(|| ControllerError::NoToken(account.name_any()))
    }
}

fn verdict(secret: &Secret, account: Option<&ServiceAccount>, root_ca: &str) -> Verdict {
    if secret.metadata.deletion_timestamp.is_some() {
        return Verdict::Nothing;
    }
    let made_for = secret.annotations().get(UID);
    let Some(account) = account.filter(|account| made_for.is_none() || made_for == account.uid().as_ref()) else {
        return Verdict::Remove;
    };
    let has = |key: &str, value: &[u8]| secret.data.iter().flatten().any(|(name, data)| name == key && data.0 == value);
    let namespace = secret.namespace().unwrap_or_default();
    let token = !secret.data.iter().flatten().any(|(name, data)| name == "token" && !data.0.is_empty());
    let whole = made_for == account.uid().as_ref()
        && has("ca.crt", root_ca.as_bytes())
        && has("namespace", namespace.as_bytes());
    if whole && !token { Verdict::Nothing } else { Verdict::Fill { token } }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(uid: Option<&str>, data: serde_json::Value) -> Secret {
        let mut annotations = json!({NAME: "robot"});
        if let Some(uid) = uid {
            annotations[UID] = uid.into();
        }
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "n", "annotations": annotations}, "type": TYPE, "data": data}))
        .unwrap()
    }

    #[test]
    fn a_secret_is_filled_once_and_goes_with_its_account() {
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": "robot", "uid": "u1"}})).unwrap();
        // "CA", "n" and "t" in base64.
        let whole = json!({"ca.crt": "Q0E=", "namespace": "bg==", "token": "dA=="});
        let half = json!({"token": "dA=="});
        let cases = [
            (secret(None, json!({})), Some(&account), Verdict::Fill { token: true }),
            (secret(None, whole.clone()), Some(&account), Verdict::Fill { token: false }),
            (secret(Some("u1"), whole.clone()), Some(&account), Verdict::Nothing),
            (secret(Some("u1"), half), Some(&account), Verdict::Fill { token: false }),
            (
                secret(Some("u1"), json!({"ca.crt": "Q0E=", "namespace": "bg=="})),
                Some(&account),
                Verdict::Fill { token: true },
            ),
            (secret(Some("u0"), whole.clone()), Some(&account), Verdict::Remove),
            (secret(None, whole), None, Verdict::Remove),
        ];
        for (secret, account, expected) in cases {
            assert_eq!(verdict(&secret, account, "CA"), expected, "{:?}", secret.data);
        }
    }
}
