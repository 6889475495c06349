//! Getting the image of a container by its pull policy, with the reasons, messages and events of Kubernetes; and giving
//! back disk space that unused images take.

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::SystemTime};

use k8s_openapi::api::core::v1::Pod;
use tracing::{info, warn};

use crate::{
    clock,
    containers::{Credentials, Image, PulledImage, Refusal, RefusalKind, SharedContainers},
    events::{Events, Severity},
    facts::disk_use,
    limits::{IMAGE_AGE_MIN_MS, IMAGE_GC_FREE_PERCENT, IMAGE_GC_FREE_PERCENT_MIN, IMAGE_GC_PERIOD},
    pulled::PulledImages,
};

/// The reason that leads to a back-off.
pub const ERR_IMAGE_PULL: &str = "ErrImagePull";

/// Why a container has no image yet, as its status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullProblem {
    pub reason: &'static str,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

fn policy(image: &str, named: Option<&str>) -> PullPolicy {
    match named {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ if image.contains('@') => PullPolicy::IfNotPresent,
        // The tag is after the last colon, unless that belongs to the registry's port.
        _ => match image.rsplit_once(':').map(|(_, tag)| tag) {
            Some(tag) if tag != "latest" && !tag.contains('/') => PullPolicy::IfNotPresent,
            Some(_) | None => PullPolicy::Always,
        },
    }
}

#[derive(Clone, Copy)]
pub struct Puller<'a> {
    pub containers: &'a SharedContainers,
    pub pulled: &'a PulledImages,
    pub events: &'a Events,
    pub pod: &'a Pod,
    pub credentials: &'a [Credentials],
    pub image: &'a str,
    pub policy: Option<&'a str>,
    /// The container that is to run it; none for what is a volume.
    pub container: Option<&'a str>,
}

impl Puller<'_> {
    /// The image, pulled if the policy wants that.
    pub async fn get(&self) -> Result<Image, PullProblem> {
        let name = self.image;
        let present = match self.containers.resolve(name).await {
            Ok(present) => present,
            Err(refusal) if refusal.kind == RefusalKind::InvalidReference => {
                let message = format!("Failed to apply default image tag {name:?}: {refusal}");
                self.tell(Severity::Warning, "InspectFailed", message.clone());
                return Err(self.fail("InvalidImageName", message));
            }
            Err(refusal) => {
                let message = format!("Failed to inspect image {name:?}: {refusal}");
                self.tell(Severity::Warning, "InspectFailed", message.clone());
                return Err(self.fail("ImageInspectError", message));
            }
        };
        let may_use = present.as_ref().is_some_and(|image| self.pulled.may_use(image, name, self.credentials));
        match (policy(name, self.policy), present) {
            (PullPolicy::IfNotPresent | PullPolicy::Never, Some(image)) if may_use => {
                let message =
                    format!("Container image {name:?} already present on machine and can be accessed by the pod");
                self.tell(Severity::Normal, "Pulled", message);
                Ok(image)
            }
            (PullPolicy::Never, present) => {
                let message = match present {
                    None => format!("Container image {name:?} is not present with pull policy of Never"),
                    Some(_) => format!(
                        "Container image {name:?} is present with pull policy of Never but does not have the proper \
                         credentials to access the image"
                    ),
                };
                self.tell(Severity::Warning, "ErrImageNeverPull", message.clone());
                Err(self.fail("ErrImageNeverPull", message))
            }
            (PullPolicy::Always | PullPolicy::IfNotPresent, _) => self.pull(name).await,
        }
    }

    async fn pull(&self, name: &str) -> Result<Image, PullProblem> {
        self.tell(Severity::Normal, "Pulling", format!("Pulling image {name:?}"));
        let began_ms = clock::now();
        match self.fetch(name).await {
            Ok(image) => {
                let took = clock::go_duration(clock::now() - began_ms);
                let size = image.size_bytes;
                let message = format!(
                    "Successfully pulled image {name:?} in {took} ({took} including waiting). \
                     Image size: {size} bytes."
                );
                self.tell(Severity::Normal, "Pulled", message);
                Ok(image)
            }
            Err(refusal) => {
                let message = format!("failed to pull image {name:?}: {refusal}");
                self.tell(Severity::Warning, "Failed", format!("Failed to pull image {name:?}: {refusal}"));
                Err(self.fail(ERR_IMAGE_PULL, message))
            }
        }
    }

    /// From its registry; that it was, and with what, is kept.
    async fn fetch(&self, name: &str) -> Result<Image, Refusal> {
        let unkept = |error: std::io::Error| Refusal::other(format!("keeping who may use the image: {error}"));
        let pull = self.pulled.begin(name).map_err(unkept)?;
        match (self.containers.pull(name, self.credentials).await, pull) {
            (Ok(PulledImage { image, by }), Some(pull)) => {
                pull.done(&image.id, by.as_ref()).map_err(unkept)?;
                Ok(image)
            }
            (Err(refusal), Some(pull)) => {
                pull.failed().map_err(unkept)?;
                Err(refusal)
            }
            (answer, None) => answer.map(|pulled| pulled.image),
        }
    }

    fn fail(&self, reason: &'static str, message: String) -> PullProblem {
        self.tell(Severity::Warning, "Failed", format!("Error: {reason}"));
        PullProblem { reason, message }
    }

    fn tell(&self, severity: Severity, reason: &'static str, message: String) {
        match self.container {
            Some(container) => self.events.of_container(self.pod, container, severity, reason, message),
            None => self.events.of_pod(self.pod, severity, reason, message),
        }
    }
}

/// Removes unused images, the oldest first, while the disk is too full; for ever.
pub async fn collect_garbage(containers: SharedContainers, pulled: Arc<PulledImages>, state_dir: PathBuf) {
    loop {
        tokio::time::sleep(IMAGE_GC_PERIOD).await;
        forget(&containers, &pulled).await;
        let short_of = |percent| disk_use(&state_dir).is_some_and(|disk| disk.below(percent));
        if !short_of(IMAGE_GC_FREE_PERCENT_MIN) {
            continue;
        }
        let candidates = match unused(&containers).await {
            Ok(candidates) => candidates,
            Err(refusal) => {
                warn!(%refusal, "cannot look for unused images");
                continue;
            }
        };
        for image in candidates {
            if !short_of(IMAGE_GC_FREE_PERCENT) {
                break;
            }
            match containers.remove_image(&image.id).await {
                Ok(()) => info!(image = image.id, "removed an unused image: the disk is filling up"),
                Err(refusal) => warn!(image = image.id, %refusal, "cannot remove an unused image"),
            }
        }
    }
}

/// What is known of images that are gone, by whoever removed them.
async fn forget(containers: &SharedContainers, pulled: &PulledImages) {
    let looked = SystemTime::now();
    match containers.images().await {
        Ok(images) => {
            let present: HashSet<String> = images.into_iter().map(|image| image.id).collect();
            if let Err(error) = pulled.retain(&present, looked) {
                warn!(%error, "cannot forget images that are gone");
            }
        }
        Err(refusal) => warn!(%refusal, "cannot look for images that are gone"),
    }
}

async fn unused(containers: &SharedContainers) -> Result<Vec<Image>, Refusal> {
    let used = containers.used_images().await?;
    let now_ms = clock::now();
    let mut images = containers.images().await?;
    // One without a registry's digest was imported, and cannot be had again.
    images.retain(|image| {
        let in_use = used.contains(&image.id);
        !in_use && !image.digests.is_empty() && now_ms - image.created_ms > IMAGE_AGE_MIN_MS
    });
    images.sort_by_key(|image| image.created_ms);
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_defaults_by_the_tag() {
        for (image, given, expected) in [
            ("web", None, PullPolicy::Always),
            ("web:latest", None, PullPolicy::Always),
            ("web:1", None, PullPolicy::IfNotPresent),
            ("host:5000/web", None, PullPolicy::Always),
            ("host:5000/web:1", None, PullPolicy::IfNotPresent),
            ("web@sha256:0", None, PullPolicy::IfNotPresent),
            ("web", Some("Never"), PullPolicy::Never),
        ] {
            assert_eq!(policy(image, given), expected, "{image}");
        }
    }
}
