//! What every namespace is given: ServiceAccount `default`, and the cluster's CA as ConfigMap `kube-root-ca.crt`.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kontiki_informer::{Change, Informer, ObjectKey, Queue};
use kube::{ResourceExt, api::PostParams, core::ObjectMeta, runtime::watcher};

use crate::{
    ControllerError,
    context::{Context, settled},
};

const WORKERS: usize = 2;
const ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_KEY: &str = "ca.crt";

struct Controller {
    context: Context,
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
    certificates: Informer<ConfigMap>,
}

pub async fn run(context: Context) {
    let queue: Queue<ObjectKey> = Queue::default();
    let of_namespace = queue.clone();
    let namespaces = context.informer::<Namespace>(vec![Box::new(move |change: &Change<Namespace>| {
        if let Some(namespace) = &change.new {
            of_namespace.add(ObjectKey::of(&**namespace));
        }
    })]);
    let of_account = queue.clone();
    let accounts = Informer::start(
        kube::Api::all(context.clients.plain()),
        watcher::Config::default().fields(&format!("metadata.name={ACCOUNT}")),
        vec![Box::new(move |change: &Change<ServiceAccount>| {
            if let (Some(gone), None) = (&change.old, &change.new) {
                of_account.add(ObjectKey::new("", gone.namespace().unwrap_or_default()));
            }
        })],
        context.cancel.clone(),
    );
    let of_certificate = queue.clone();
    let certificates = Informer::start(
        kube::Api::all(context.clients.plain()),
        watcher::Config::default().fields(&format!("metadata.name={ROOT_CA}")),
        vec![Box::new(move |change: &Change<ConfigMap>| {
            if let Some(changed) = change.any() {
                of_certificate.add(ObjectKey::new("", changed.namespace().unwrap_or_default()));
            }
        })],
        context.cancel.clone(),
    );
    if !namespaces.synced().await || !accounts.synced().await || !certificates.synced().await {
        return;
    }
    let controller = Arc::new(Controller { context, namespaces, accounts, certificates });
    let cancel = controller.context.cancel.clone();
    queue
        .drain(WORKERS, cancel, move |key| {
            let controller = controller.clone();
            async move { settled("serviceaccount", &key, controller.reconcile(&key).await) }
        })
        .await;
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(()) };
        if namespace.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let metadata = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        if self.accounts.get(&ObjectKey::new(&key.name, ACCOUNT)).is_none() {
            let account = ServiceAccount { metadata: metadata(ACCOUNT), ..ServiceAccount::default() };
            let api = self.context.api::<ServiceAccount, _>(&key.name, &*namespace);
            exists_is_fine(api.create(&PostParams::default(), &account).await)?;
        }
        let data = BTreeMap::from([(ROOT_CA_KEY.to_owned(), self.context.config.root_ca.clone())]);
        let api = self.context.api::<ConfigMap, _>(&key.name, &*namespace);
        match self.certificates.get(&ObjectKey::new(&key.name, ROOT_CA)) {
            None => {
                let published = ConfigMap { metadata: metadata(ROOT_CA), data: Some(data), ..ConfigMap::default() };
                exists_is_fine(api.create(&PostParams::default(), &published).await)
            }
            Some(old) if old.data.as_ref() == Some(&data) => Ok(()),
            Some(old) => {
                let restored = ConfigMap { data: Some(data), ..(*old).clone() };
                api.replace(ROOT_CA, &PostParams::default(), &restored).await?;
                Ok(())
            }
        }
    }
}

fn exists_is_fine<T>(result: Result<T, kube::Error>) -> Result<(), ControllerError> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
    }
}
