//! Tells where objects have gone, or changed what they use.

use std::{collections::HashMap, pin::pin};

use super::subject::Subject;
use crate::context::Context;
use futures::StreamExt;
use kontiki_informer::{Outage, interruption, is_unserved};
use kube::{
    Api, ResourceExt,
    api::DynamicObject,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};

/// Follows the metadata of the subject's objects until cancelled, or until nobody serves them any more. `touched` is told the namespace, or none when something may have
/// happened in any: when the watch begins, and after it was interrupted.
pub async fn follow(
    context: Context,
    subject: Subject,
    selector: Option<&'static str>,
    touched: &(impl Fn(Option<&str>) + Send + Sync),
) {
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(context.clients.plain(), &subject.resource);
    let config = watcher::Config { field_selector: selector.map(str::to_owned), ..watcher::Config::default() };
    let mut stream = pin!(watcher(api, config).default_backoff());
    let mut generations = Generations::default();
    let mut outage = Outage::new("watch interrupted", &subject.resource.plural);
    loop {
        let event = tokio::select! {
            () = context.cancel.cancelled() => return,
            event = stream.next() => event,
        };
        if matches!(&event, Some(Ok(event)) if !matches!(event, watcher::Event::Init)) {
            outage.over();
        }
        match event {
            None => return,
            Some(Ok(watcher::Event::Init)) => generations = Generations::default(),
            Some(Ok(watcher::Event::InitApply(object))) => {
                if subject.may_shrink() {
                    generations.is_new(&object);
                }
            }
            Some(Ok(watcher::Event::InitDone)) => touched(None),
            Some(Ok(watcher::Event::Apply(object))) => {
                if subject.may_shrink() && generations.is_new(&object) {
                    touched(object.namespace().as_deref());
                }
            }
            Some(Ok(watcher::Event::Delete(object))) => {
                generations.forget(&object);
                touched(object.namespace().as_deref());
            }
            Some(Err(error)) if is_unserved(&error) => return touched(None),
            Some(Err(error)) => outage.failed(&interruption(&error)),
        }
    }
}

/// The generations of objects that have one: the others may have changed whenever they are seen.
#[derive(Default)]
struct Generations(HashMap<String, i64>);

impl Generations {
    fn is_new(&mut self, object: &PartialObjectMeta<DynamicObject>) -> bool {
        let (Some(uid), Some(generation)) = (object.uid(), object.metadata.generation) else { return true };
        self.0.insert(uid, generation) != Some(generation)
    }

    fn forget(&mut self, object: &PartialObjectMeta<DynamicObject>) {
        if let Some(uid) = object.uid() {
            self.0.remove(&uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::{Value, json};

    use super::*;
    use crate::scripted;

    fn widgets() -> Subject {
        let kind = kube::core::GroupVersionKind::gvk("example.com", "v1", "Widget");
        Subject::named("count/widgets.example.com", kube::api::ApiResource::from_gvk_with_plural(&kind, "widgets"))
    }

    #[tokio::test]
    async fn a_kind_that_is_gone_is_followed_no_more() {
        let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                          "metadata": {"resourceVersion": "9"}, "items": []});
        let gone = scripted::failure(404, "NotFound", "");
        // Gone before it was listed, and between list and watch.
        for (answers, told) in [(vec![gone.clone()], 1), (vec![(200, list), gone], 2)] {
            let asked = std::sync::Arc::new(AtomicUsize::new(0));
            let (next, last) = (asked.clone(), answers.len() - 1);
            let (context, _) = scripted::context(move |_, _| -> (u16, Value) {
                answers[next.fetch_add(1, Ordering::SeqCst).min(last)].clone()
            });
            let touched = AtomicUsize::new(0);
            let note = |namespace: Option<&str>| {
                assert_eq!(namespace, None);
                touched.fetch_add(1, Ordering::SeqCst);
            };
            follow(context, widgets(), None, &note).await;
            assert_eq!(touched.into_inner(), told);
        }
    }
}
