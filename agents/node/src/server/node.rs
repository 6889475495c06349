//! The node itself as the [`Backend`] of its API.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kontiki_runtime::{Usage, spec::ContainerState};

use super::{
    access::Verdict,
    backend::{Archive, Backend, Connection, Place},
    figures::container_statuses,
};
use crate::{
    containers::{Answer, Command, Image, Refusal, Session},
    disk::{Measure, Written},
    load::Load,
    node::NodeContext,
    pod::PodId,
    probes::Tally,
    reviews,
    spec::attempt_of,
    volumes,
};

impl Backend for NodeContext {
    fn node_name(&self) -> &str {
        &self.config.name
    }

    fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods.all()
    }

    fn probes(&self) -> Tally {
        self.probes.clone()
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.pods.find(namespace, name, None)
    }

    fn place(&self, pod: &Pod, container_id: &str) -> Option<Place> {
        // `kontiki://<pod uid>.<container>-<attempt>`
        let (sandbox, container) = container_id.strip_prefix("kontiki://")?.split_once('.')?;
        let (name, attempt) = attempt_of(container)?;
        let log = volumes::Place::new(&self.config.state_dir, &PodId::of(pod)).log(name, attempt);
        Some(Place { sandbox: sandbox.to_owned(), container: container.to_owned(), log })
    }

    fn is_alive<'a>(&'a self, place: &'a Place) -> Answer<'a, bool> {
        Box::pin(async move {
            let Some(sandbox) = self.containers.status(&place.sandbox).await? else { return Ok(false) };
            let container = sandbox.containers.iter().find(|container| container.id == place.container);
            let lives = container.is_some_and(|container| match container.state {
                ContainerState::Created | ContainerState::Running { .. } => true,
                ContainerState::Exited { .. } => false,
            });
            Ok(lives && !sandbox.lost)
        })
    }

    fn exec<'a>(&'a self, place: &'a Place, command: Command) -> Answer<'a, Session> {
        self.containers.exec(&place.sandbox, &place.container, command)
    }

    fn attach<'a>(&'a self, place: &'a Place, stdin: bool) -> Answer<'a, Session> {
        self.containers.attach(&place.sandbox, &place.container, stdin)
    }

    fn connect<'a>(&'a self, pod: &'a Pod, port: u16) -> Answer<'a, Box<dyn Connection>> {
        Box::pin(async move {
            let stream = self.containers.connect(&PodId::of(pod).uid, port).await?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }

    fn load(&self) -> Result<Load, Refusal> {
        Load::read(&self.config.state_dir).map_err(|error| Refusal::other(error.to_string()))
    }

    fn written<'a>(&'a self, pod: &'a Pod) -> Answer<'a, Written> {
        Box::pin(async move {
            let id = PodId::of(pod);
            let attempts = pod.status.iter().flat_map(container_statuses).filter_map(|status| {
                let (_, container) = status.container_id.as_deref()?.split_once('.')?;
                attempt_of(container)
            });
            let place = volumes::Place::new(&self.config.state_dir, &id);
            Measure::new(pod, &place, &id.uid, attempts).run(&self.containers).await
        })
    }

    fn usage<'a>(&'a self, pod: &'a Pod, place: Option<&'a Place>) -> Answer<'a, Usage> {
        Box::pin(async move {
            let sandbox = PodId::of(pod).uid;
            self.containers.usage(&sandbox, place.map(|place| place.container.as_str())).await
        })
    }

    fn review<'a>(&'a self, token: &'a str, subresource: &'a str) -> Answer<'a, Verdict> {
        Box::pin(async move {
            let answer = reviews::review(&self.client, &self.config.name, token, subresource).await;
            answer.map_err(|error| Refusal::other(error.to_string()))
        })
    }

    fn images(&self) -> Answer<'_, Vec<Image>> {
        self.containers.images()
    }

    fn import<'a>(&'a self, name: Option<&'a str>, archive: Archive) -> Answer<'a, Image> {
        Box::pin(async move {
            let image = self.containers.import(name, archive).await?;
            self.images_changed.notify_one();
            Ok(image)
        })
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.containers.remove_image(reference).await?;
            self.images_changed.notify_one();
            Ok(())
        })
    }
}
