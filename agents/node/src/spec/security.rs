//! Security contexts: the pod's, overridden by the container's, and the refusal to run as root.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SeccompProfile};
use kontiki_runtime::spec::{ID_MAX, Seccomp, User};

use crate::pod::PodId;
use std::path::Path;

pub struct Security {
    pub user: User,
    pub privileged: bool,
    pub read_only_root: bool,
    pub no_new_privileges: bool,
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    pub seccomp: Seccomp,
}

/// `image_user` as the image names it; `seccomp_root` is where `Localhost` profiles are.
/// The message of a failure is Kubernetes' own.
pub fn of_container(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    image_user: &str,
    seccomp_root: &Path,
) -> Result<Security, String> {
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let run_as_user = own.run_as_user.or(of_pod.run_as_user);
    let run_as_group = own.run_as_group.or(of_pod.run_as_group);
    let non_root = own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true);
    let place = || format!("(pod: {:?}, container: {})", PodId::of(pod).full_name(), container.name);
    if non_root {
        refuse_root(run_as_user, image_user).map_err(|problem| format!("{problem} {}", place()))?;
    }
    let id = |value: i64| {
        let id = u32::try_from(value).ok().filter(|id| *id <= ID_MAX);
        id.ok_or_else(|| format!("user or group {value} is out of range {}", place()))
    };
    let mut additional_groups = Vec::new();
    for group in of_pod.supplemental_groups.iter().flatten().chain(&of_pod.fs_group) {
        additional_groups.push(id(*group)?);
    }
    let privileged = own.privileged == Some(true);
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let user = match run_as_user {
        Some(uid) => id(uid)?.to_string(),
        None => image_user.to_owned(),
    };
    Ok(Security {
        user: User {
            user,
            group: run_as_group.map(id).transpose()?,
            additional_groups,
            strict_groups: of_pod.supplemental_groups_policy.as_deref() == Some("Strict"),
        },
        privileged,
        read_only_root: own.read_only_root_filesystem == Some(true),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        capabilities_add: capabilities.add.unwrap_or_default(),
        capabilities_drop: capabilities.drop.unwrap_or_default(),
        seccomp: match privileged {
            true => Seccomp::Unconfined,
            false => seccomp(own.seccomp_profile.or(of_pod.seccomp_profile).as_ref(), seccomp_root)?,
        },
    })
}

fn refuse_root(run_as_user: Option<i64>, image_user: &str) -> Result<(), String> {
    match run_as_user {
        Some(0) => return Err("container's runAsUser breaks non-root policy".to_owned()),
        Some(_) => return Ok(()),
        None => {}
    }
    let name = image_user.split(':').next().unwrap_or_default();
    match name.parse::<u32>() {
        Ok(0) => Err("container has runAsNonRoot and image will run as root".to_owned()),
        Ok(uid) if uid > ID_MAX => {
            Err(format!("container has runAsNonRoot and image has user {name}, which is out of range"))
        }
        Ok(_) => Ok(()),
        Err(_) if name.is_empty() => Err("container has runAsNonRoot and image will run as root".to_owned()),
        Err(_) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        )),
    }
}

/// A pod that names no profile has none, as Kubernetes has it by default.
fn seccomp(profile: Option<&SeccompProfile>, root: &Path) -> Result<Seccomp, String> {
    let Some(profile) = profile else { return Ok(Seccomp::Unconfined) };
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("RuntimeDefault", _) => Ok(Seccomp::RuntimeDefault),
        ("Unconfined", _) => Ok(Seccomp::Unconfined),
        ("Localhost", Some(file)) if !file.split('/').any(|part| part == "..") => {
            Ok(Seccomp::Localhost(root.join(file.trim_start_matches('/'))))
        }
        ("Localhost", _) => Err("localhostProfile must be a path below the node's seccomp folder".to_owned()),
        (other, _) => Err(format!("unknown seccomp profile type {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_refused_in_kubernetes_words() {
        for (run_as_user, image_user, expected) in [
            (Some(0), "", Some("container's runAsUser breaks non-root policy")),
            (Some(7), "", None),
            (None, "", Some("container has runAsNonRoot and image will run as root")),
            (None, "0:0", Some("container has runAsNonRoot and image will run as root")),
            (None, "65532:65532", None),
            (None, "2147483647", None),
            (
                None,
                "4294967295",
                Some("container has runAsNonRoot and image has user 4294967295, which is out of range"),
            ),
            (
                None,
                "nginx",
                Some(
                    "container has runAsNonRoot and image has non-numeric user (nginx), cannot verify user is non-root",
                ),
            ),
        ] {
            assert_eq!(refuse_root(run_as_user, image_user).err().as_deref(), expected);
        }
    }
}
