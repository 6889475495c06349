//! What a node sets aside for a pod's containers: what its spec says, once that fits; until then what it said before. Pure.

use std::{collections::BTreeMap, io};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};

use crate::{pod, spec::resources::same_amounts};

/// By container. What runs only while the pod starts is not resized, so nothing is remembered of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allocation(BTreeMap<String, ResourceRequirements>);

impl Allocation {
    pub fn of(spec: &PodSpec) -> Allocation {
        let own = |container: &Container| (container.name.clone(), container.resources.clone().unwrap_or_default());
        Allocation(resizable(spec).map(own).collect())
    }

    /// As `of`, but for the containers of which it is known what they were given.
    pub fn remembered(
        spec: &PodSpec,
        known: impl Fn(&str) -> io::Result<Option<ResourceRequirements>>,
    ) -> io::Result<Allocation> {
        let mut allocation = Allocation::of(spec);
        for (name, resources) in &mut allocation.0 {
            if let Some(known) = known(name)? {
                *resources = known;
            }
        }
        Ok(allocation)
    }

    /// The pod with these resources in the place of its own.
    pub fn given_to(&self, pod: &Pod) -> Pod {
        let mut pod = pod.clone();
        let Some(spec) = &mut pod.spec else { return pod };
        for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
            if let Some(resources) = self.0.get(&container.name) {
                // What is written otherwise but amounts to the same is the spec's.
                if !same_amounts(container.resources.as_ref(), Some(resources)) {
                    container.resources = Some(resources.clone());
                }
            }
        }
        pod
    }

    /// The spec asks for the same.
    pub fn suffices(&self, spec: &PodSpec) -> bool {
        resizable(spec).all(|container| {
            self.0.get(&container.name).is_none_or(|own| same_amounts(container.resources.as_ref(), Some(own)))
        })
    }
}

fn resizable(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let sidecars = spec.init_containers.iter().flatten().filter(|container| pod::is_sidecar(container));
    sidecars.chain(&spec.containers)
}
