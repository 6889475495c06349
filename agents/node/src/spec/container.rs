//! One attempt of one container, complete: arguments, environment, user, mounts, limits.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{Container, Pod};
use kontiki_runtime::spec::{ContainerSpec, Mount};

use super::{resources, security};
use crate::{
    containers::Image,
    env::{self, Objects, expand},
    pod,
};

/// Everything around a container that is known when it is made.
pub struct Surroundings<'a> {
    pub pod: &'a Pod,
    pub env: env::Surroundings<'a>,
    pub image: &'a Image,
    pub mounts: Vec<Mount>,
    pub log_path: PathBuf,
    pub seccomp_root: &'a Path,
    pub hostname: &'a str,
    pub memory_capacity: i64,
}

/// Why a container cannot be made, in Kubernetes' classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// `CreateContainerConfigError`: something it refers to is missing, or it is not allowed to run so.
    Config(String),
    /// `CreateContainerError`: the runtime could not make it.
    Create(String),
}

pub fn container_name(container: &str, attempt: u32) -> String {
    format!("{container}-{attempt}")
}

/// `web-1` as (`web`, 1).
pub fn attempt_of(id: &str) -> Option<(&str, u32)> {
    let (name, attempt) = id.rsplit_once('-')?;
    Some((name, attempt.parse().ok()?))
}

pub fn container_spec(
    container: &Container,
    attempt: u32,
    around: Surroundings<'_>,
    objects: &dyn Objects,
) -> Result<ContainerSpec, Problem> {
    let spec = pod::spec(around.pod);
    let config = &around.image.config;
    let mut env = env::environment(container, &config.env, &around.env, objects).map_err(Problem::Config)?;
    let variables: BTreeMap<String, String> = env.iter().cloned().collect();
    let security = security::of_container(around.pod, &spec, container, &config.user, around.seccomp_root)
        .map_err(Problem::Config)?;
    if !variables.contains_key("HOSTNAME") {
        env.push(("HOSTNAME".to_owned(), around.hostname.to_owned()));
    }
    let tty = container.tty == Some(true);
    if tty && !variables.contains_key("TERM") {
        env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    let cwd = container.working_dir.clone().filter(|dir| !dir.is_empty()).unwrap_or_else(|| config.cwd.clone());
    Ok(ContainerSpec {
        id: container_name(&container.name, attempt),
        image: around.image.id.clone(),
        args: arguments(container, around.image, &variables)?,
        env,
        cwd: if cwd.is_empty() { "/".to_owned() } else { cwd },
        user: security.user,
        mounts: around.mounts,
        resources: resources::of_container(around.pod, container, around.memory_capacity),
        privileged: security.privileged,
        read_only_root: security.read_only_root,
        no_new_privileges: security.no_new_privileges,
        capabilities_add: security.capabilities_add,
        capabilities_drop: security.capabilities_drop,
        seccomp: security.seccomp,
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty,
        log_path: around.log_path,
        stop_signal: stop_signal(container).or_else(|| config.stop_signal.clone()),
        process_namespace_of: None,
    })
}

pub fn stop_signal(container: &Container) -> Option<String> {
    container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone())
}

/// `command` replaces the image's entrypoint and drops its arguments; `args` replaces only the arguments.
fn arguments(
    container: &Container,
    image: &Image,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<String>, Problem> {
    let given = |list: &Option<Vec<String>>| {
        let list = list.iter().flatten().map(|argument| expand(argument, variables)).collect::<Vec<_>>();
        (!list.is_empty()).then_some(list)
    };
    let (mut line, args) = match (given(&container.command), given(&container.args)) {
        (Some(command), args) => (command, args.unwrap_or_default()),
        (None, Some(args)) => (image.config.entrypoint.clone(), args),
        (None, None) => (image.config.entrypoint.clone(), image.config.command.clone()),
    };
    line.extend(args);
    match line.is_empty() {
        true => Err(Problem::Create(format!(
            "no command specified: image {} names none, so the container must have a command",
            container.image.as_deref().unwrap_or_default()
        ))),
        false => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::ImageConfig;

    #[test]
    fn command_and_args_merge_with_the_images() {
        let image = |entrypoint: &[&str], command: &[&str]| Image {
            config: ImageConfig {
                entrypoint: entrypoint.iter().map(|s| s.to_string()).collect(),
                command: command.iter().map(|s| s.to_string()).collect(),
                ..ImageConfig::default()
            },
            ..Image::default()
        };
        for (command, args, image, expected) in [
            (vec![], vec![], image(&["/e"], &["a"]), Some("/e a")),
            (vec!["/c"], vec![], image(&["/e"], &["a"]), Some("/c")),
            (vec![], vec!["b"], image(&["/e"], &["a"]), Some("/e b")),
            (vec!["/c"], vec!["$(X)"], image(&["/e"], &["a"]), Some("/c 1")),
            (vec![], vec![], image(&[], &[]), None),
        ] {
            let container: Container =
                serde_json::from_value(serde_json::json!({"name": "c", "command": command, "args": args})).unwrap();
            let variables = BTreeMap::from([("X".to_owned(), "1".to_owned())]);
            let line = arguments(&container, &image, &variables).ok().map(|line| line.join(" "));
            assert_eq!(line.as_deref(), expected);
        }
    }

    #[test]
    fn ids_carry_the_attempt() {
        assert_eq!(attempt_of(&container_name("my-web", 12)), Some(("my-web", 12)));
        assert_eq!(attempt_of("web"), None);
    }
}
