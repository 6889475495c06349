//! What is made on disk before a container is: its own files, its log's folder, the pins of its mounts.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, Pod};
use kontiki_runtime::spec::{ContainerSpec, Mount, Propagation};

use super::jobs::remember_resources;
use crate::{
    containers::Image,
    env::{self, Objects},
    host_files::HostFiles,
    node::NodeContext,
    pod::{self, PodId},
    spec::{self, Problem, container_spec},
    volumes::{Mountable, Place, container_mounts, read_file, release_container},
};

const TERMINATION_LOG: &str = "/dev/termination-log";

/// Everything that is made on disk before a container is.
pub struct Preparation<'a> {
    pub node: &'a NodeContext,
    pub pod: &'a Pod,
    pub place: &'a Place,
    pub container: &'a Container,
    pub attempt: u32,
    pub round: u32,
    pub address: IpAddr,
    /// Images that are volumes, by name of the volume.
    pub images: &'a BTreeMap<String, PathBuf>,
}

impl Preparation<'_> {
    pub fn make(&self, image: &Image) -> Result<ContainerSpec, Problem> {
        let id = PodId::of(self.pod);
        let objects = self.node.objects.in_namespace(&id.namespace);
        let files = VolumeFiles { pod: self.pod, place: self.place };
        let surroundings = self.surroundings(&files);
        let variables = self.variables(image, &surroundings, &objects)?;
        // A start that was cut short may have left its pins.
        release_container(self.place, &self.container.name, self.attempt).map_err(Problem::Create)?;
        let mut mounts = self.own_files().map_err(Problem::Create)?;
        let mountable = Mountable {
            place: self.place,
            images: self.images,
            recursive_read_only: self.node.facts.recursive_read_only(),
        };
        mounts.extend(
            container_mounts(self.pod, self.container, self.attempt, &variables, mountable).map_err(Problem::Config)?,
        );
        let config = &self.node.config;
        let (hostname, _) = spec::hostname(self.pod, &config.name, &config.cluster_domain);
        let around = spec::Surroundings {
            pod: self.pod,
            env: surroundings,
            image,
            mounts: without_shadowed(mounts),
            log_path: self.place.log(&self.container.name, self.attempt),
            seccomp_root: &config.state_dir.join("seccomp"),
            hostname: &hostname,
            memory_capacity: self.node.memory_capacity(),
        };
        container_spec(self.container, self.attempt, around, &objects)
    }

    fn surroundings<'a>(&'a self, files: &'a VolumeFiles<'a>) -> env::Surroundings<'a> {
        env::Surroundings {
            pod: self.pod,
            namespace: self.pod.metadata.namespace.as_deref().unwrap_or_default(),
            host_ip: self.node.config.address.to_string(),
            pod_ip: self.address.to_string(),
            allocatable: &self.node.allocatable,
            services: self.node.service_variables(self.pod),
            files,
        }
    }

    fn variables(
        &self,
        image: &Image,
        around: &env::Surroundings<'_>,
        objects: &dyn Objects,
    ) -> Result<BTreeMap<String, String>, Problem> {
        let env = env::environment(self.container, &image.config.env, around, objects).map_err(Problem::Config)?;
        Ok(env.into_iter().collect())
    }

    /// Files that every container gets: hosts, hostname, resolver, termination message; and the folder of its log.
    fn own_files(&self) -> Result<Vec<Mount>, String> {
        let failed = |path: &Path, error: std::io::Error| format!("making {}: {error}", path.display());
        let config = &self.node.config;
        let on_host = pod::on_host_network(&pod::spec(self.pod));
        let files = HostFiles {
            node_name: &config.name,
            cluster_dns: &config.cluster_dns,
            cluster_domain: &config.cluster_domain,
            pod_ip: (!on_host).then_some(self.address),
        };
        let folder = self.place.pod();
        let mut mounts = files.write(self.pod, &folder).map_err(|error| failed(&folder, error))?;
        let name = &self.container.name;
        let log = self.place.log(name, self.attempt);
        for folder in [self.place.container(name), log.parent().unwrap_or(&log).to_owned()] {
            fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        }
        let asked = self.place.image_asked(name, self.attempt);
        fs::write(&asked, self.container.image.as_deref().unwrap_or_default())
            .map_err(|error| failed(&asked, error))?;
        let round = self.place.round(name, self.attempt);
        fs::write(&round, self.round.to_string()).map_err(|error| failed(&round, error))?;
        let resources = self.container.resources.clone().unwrap_or_default();
        remember_resources(&self.place.resources(name, self.attempt), &resources)?;
        let message = self.place.termination_message(name, self.attempt);
        termination_file(&message).map_err(|error| failed(&message, error))?;
        let destination = self.container.termination_message_path.clone().filter(|path| !path.is_empty());
        mounts.push(Mount {
            source: message,
            destination: destination.unwrap_or_else(|| TERMINATION_LOG.to_owned()).into(),
            read_only: false,
            recursive_read_only: false,
            propagation: Propagation::Private,
        });
        Ok(mounts)
    }
}

/// Files that are on this machine because the pod's volumes are.
struct VolumeFiles<'a> {
    pod: &'a Pod,
    place: &'a Place,
}

impl env::Files for VolumeFiles<'_> {
    fn read(&self, volume: &str, path: &str) -> Option<Result<String, String>> {
        let volumes = self.pod.spec.as_ref()?.volumes.as_deref()?;
        let volume = volumes.iter().find(|known| known.name == volume)?;
        Some(self.place.volume(volume).and_then(|folder| read_file(&folder, path)))
    }
}

/// Anybody in the container may write its message.
fn termination_file(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, "")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
}

/// A volume that the pod mounts where one of our own files would be takes its place.
fn without_shadowed(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut kept: Vec<Mount> = Vec::with_capacity(mounts.len());
    for mount in mounts {
        kept.retain(|earlier| earlier.destination != mount.destination);
        kept.push(mount);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_pod_mounts_wins() {
        let mount = |source: &str, destination: &str| Mount {
            source: source.into(),
            destination: destination.into(),
            read_only: false,
            recursive_read_only: false,
            propagation: Propagation::Private,
        };
        let kept = without_shadowed(vec![mount("a", "/etc/hosts"), mount("b", "/x"), mount("c", "/etc/hosts")]);
        assert_eq!(kept, [mount("b", "/x"), mount("c", "/etc/hosts")]);
    }
}
