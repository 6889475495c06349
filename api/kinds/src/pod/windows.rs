//! What `spec.os` rules out, and what is only for Windows (`validateWindows`, `validateWindowsHostProcessPod`).

use kontiki_model::Faults;
use serde_json::Value;

use crate::names::{report, subdomain};
use crate::tree::{at, flag, list, missing, text};

const CREDENTIAL_KIB_MAX: usize = 64;
const DOMAIN_LENGTH_MAX: usize = 256;
const USER_LENGTH_MAX: usize = 104;

/// Members of a pod's spec, and of its security context, that mean nothing on Windows.
const OF_SPEC: [&str; 4] = ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"];
const OF_POD: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
/// The same of a container.
const OF_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// The containers of a pod of all three sorts, with their paths.
fn containers<'a>(spec: &'a Value, path: &str) -> Vec<(&'a Value, String)> {
    let of = |member: &'static str| {
        let path = format!("{path}.{member}");
        let all = list(spec, &format!("/{member}")).iter().enumerate();
        all.map(move |(index, container)| (container, format!("{path}[{index}]")))
    };
    of("initContainers").chain(of("containers")).chain(of("ephemeralContainers")).collect()
}

/// `spec.os`: its name, and what a pod for that system must not say.
pub fn system(spec: &Value, path: &str, faults: &mut Faults) {
    if missing(spec, "/os") {
        return;
    }
    match text(spec, "/os/name") {
        "" => faults.required(format!("{path}.os.name"), "cannot be empty"),
        "linux" => {
            let contexts = containers(spec, path);
            let all = std::iter::once((spec, path.to_owned())).chain(contexts);
            for (_, path) in all.filter(|(one, _)| !missing(one, "/securityContext/windowsOptions")) {
                let path = format!("{path}.securityContext.windowsOptions");
                faults.forbidden(path, "windows options cannot be set for a linux pod");
            }
        }
        "windows" => nothing_of_linux(spec, path, faults),
        other => faults.not_supported(format!("{path}.os"), other, &["linux", "windows"]),
    }
}

fn nothing_of_linux(spec: &Value, path: &str, faults: &mut Faults) {
    // What shares by default is set by any value; the others share only by `true`.
    let says = |member: &str| match member {
        "hostPID" | "hostIPC" => flag(spec, &format!("/{member}")),
        member => !missing(spec, &format!("/{member}")),
    };
    let mut forbidden = |path: String| faults.forbidden(path, "cannot be set for a windows pod");
    for member in OF_SPEC.into_iter().filter(|member| says(member)) {
        forbidden(format!("{path}.{member}"));
    }
    let set = |context: &Value, member: &str| match at(context, &format!("/{member}")) {
        Value::Array(all) => !all.is_empty(),
        value => !value.is_null(),
    };
    let context = at(spec, "/securityContext");
    for member in OF_POD.into_iter().filter(|member| set(context, member)) {
        forbidden(format!("{path}.securityContext.{member}"));
    }
    for (container, path) in containers(spec, path) {
        let context = at(container, "/securityContext");
        for member in OF_CONTAINER.into_iter().filter(|member| set(context, member)) {
            forbidden(format!("{path}.securityContext.{member}"));
        }
    }
}

/// Containers that are processes of the host: all of a pod's, on the host's network.
pub fn host_processes(spec: &Value, path: &str, faults: &mut Faults) {
    const POINTER: &str = "/securityContext/windowsOptions/hostProcess";
    let of_pod = at(spec, POINTER).as_bool();
    let all = containers(spec, path);
    for (container, path) in &all {
        if let (Some(pod), Some(own)) = (of_pod, at(container, POINTER).as_bool())
            && pod != own
        {
            let detail = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            faults.invalid(format!("{path}.securityContext.windowsOptions.hostProcess"), own, detail);
        }
    }
    let of_host = |container: &Value| at(container, POINTER).as_bool().or(of_pod) == Some(true);
    let count = all.iter().filter(|(container, _)| of_host(container)).count();
    if count == 0 {
        return;
    }
    if count != all.len() {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        faults.invalid(path, "", detail);
    }
    if !flag(spec, "/hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        faults.invalid(format!("{path}.hostNetwork"), false, detail);
    }
}

/// `windowsOptions` of a security context.
pub fn options(options: &Value, path: &str, faults: &mut Faults) {
    if let Some(name) = at(options, "/gmsaCredentialSpecName").as_str() {
        report(subdomain(name), name, &format!("{path}.gmsaCredentialSpecName"), faults);
    }
    if let Some(credential) = at(options, "/gmsaCredentialSpec").as_str() {
        let path = format!("{path}.gmsaCredentialSpec");
        if credential.is_empty() {
            faults.invalid(path, credential, "gmsaCredentialSpec cannot be an empty string");
        } else if credential.len() > CREDENTIAL_KIB_MAX * 1024 {
            faults.invalid(path, credential, format!("gmsaCredentialSpec size must be under {CREDENTIAL_KIB_MAX} KiB"));
        }
    }
    if let Some(user) = at(options, "/runAsUserName").as_str() {
        for wrong in user_name(user) {
            faults.invalid(format!("{path}.runAsUserName"), user, wrong);
        }
    }
}

/// `DOMAIN\user`, or a user alone: what is wrong with it.
fn user_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string".to_owned()];
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters".to_owned()];
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".to_owned()],
    };
    let mut wrong = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= DOMAIN_LENGTH_MAX) {
        wrong.push(format!("runAsUserName's Domain length must be under {DOMAIN_LENGTH_MAX} characters"));
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_dns(domain)) {
        wrong.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
    }
    if user.is_empty() {
        wrong.push("runAsUserName's User cannot be empty".to_owned());
    } else if user.len() > USER_LENGTH_MAX {
        wrong.push(format!("runAsUserName's User length must not be longer than {USER_LENGTH_MAX} characters"));
    }
    if !user.is_empty() && user.chars().all(|one| matches!(one, '.' | ' ')) {
        wrong.push("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        let detail = "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]";
        wrong.push(detail.to_owned());
    }
    wrong
}

fn is_net_bios(domain: &str) -> bool {
    let length = domain.chars().count();
    (1..=15).contains(&length)
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_dns(domain: &str) -> bool {
    let label = |text: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        text.len() <= 63
            && edge(text.bytes().next())
            && edge(text.bytes().last())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_windows_have_names_of_its_own() {
        for good in ["ContainerUser", "DOMAIN\\user", "example.com\\user", "a b", ".a"] {
            assert_eq!(user_name(good), Vec::<String>::new(), "{good}");
        }
        let cases = [
            ("", "runAsUserName cannot be an empty string"),
            ("a\nb", "runAsUserName cannot contain control characters"),
            ("a\\b\\c", "runAsUserName cannot contain more than one backslash"),
            (".d\\user", "runAsUserName's Domain doesn't match the NetBios nor the DNS format"),
            ("d\\", "runAsUserName's User cannot be empty"),
            (". .", "runAsUserName's User cannot contain only periods or spaces"),
            ("a@b", "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"),
        ];
        for (bad, expected) in cases {
            assert_eq!(user_name(bad), [expected], "{bad}");
        }
    }
}
