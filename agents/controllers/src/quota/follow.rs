//! Tells where objects have gone, or changed what they use.

use std::{collections::HashMap, pin::pin};

use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    api::DynamicObject,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use tracing::warn;

use super::subject::Subject;
use crate::context::Context;

/// Follows the metadata of the subject's objects until cancelled. `touched` is told the namespace, or none when something may have
/// happened in any: when the watch begins, and after it was interrupted.
pub async fn follow(
    context: Context,
    subject: Subject,
    selector: Option<&'static str>,
    touched: impl Fn(Option<&str>) + Send,
) {
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(context.clients.plain(), &subject.resource);
    let config = watcher::Config { field_selector: selector.map(str::to_owned), ..watcher::Config::default() };
    let mut stream = pin!(watcher(api, config).default_backoff());
    let mut generations = Generations::default();
    loop {
        let event = tokio::select! {
            () = context.cancel.cancelled() => return,
            event = stream.next() => event,
        };
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
            Some(Err(error)) => warn!(resource = subject.resource.plural, %error, "watch interrupted"),
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
