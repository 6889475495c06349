//! What is served below an object: which subresources there are, what they answer to, and how a kind declares its own.

use kontiki_model::Faults;
use kontiki_schema::managed::Reach;
use serde_json::Value;

/// A subresource and what serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    Status,
    /// `certificatesigningrequests/approval`.
    Approval,
    /// `pods/ephemeralcontainers`.
    EphemeralContainers,
    /// `autoscaling/v1 Scale` over `spec.replicas`, `status.replicas` and the selector.
    Scale,
    /// `pods/binding`.
    Binding,
    /// `namespaces/finalize`.
    Finalize,
    /// `pods/log`: proxied to the node agent.
    Log,
    /// `pods/attach`, `pods/exec`, `pods/portforward`: upgraded and proxied to the node agent.
    Attach,
    Exec,
    PortForward,
    /// `pods/eviction`.
    Eviction,
    /// `nodes/proxy`, `pods/proxy`, `services/proxy`: any request, for whoever answers there.
    NodeProxy,
    PodProxy,
    ServiceProxy,
    /// `pods/resize`: what containers may use.
    Resize,
    /// `serviceaccounts/token`.
    Token,
}

impl Subresource {
    /// The last segment of its URL.
    pub fn name(self) -> &'static str {
        match self {
            Subresource::Approval => "approval",
            Subresource::EphemeralContainers => "ephemeralcontainers",
            Subresource::Attach => "attach",
            Subresource::Binding => "binding",
            Subresource::Eviction => "eviction",
            Subresource::Exec => "exec",
            Subresource::Finalize => "finalize",
            Subresource::Log => "log",
            Subresource::NodeProxy | Subresource::PodProxy | Subresource::ServiceProxy => "proxy",
            Subresource::PortForward => "portforward",
            Subresource::Resize => "resize",
            Subresource::Scale => "scale",
            Subresource::Status => "status",
            Subresource::Token => "token",
        }
    }

    /// Request verbs, as discovery lists them.
    pub fn verbs(self) -> &'static [&'static str] {
        match self {
            Subresource::Attach | Subresource::Exec | Subresource::PortForward => &["create", "get"],
            Subresource::Binding | Subresource::Eviction | Subresource::Token => &["create"],
            Subresource::Finalize => &["update"],
            Subresource::Log => &["get"],
            Subresource::NodeProxy | Subresource::PodProxy | Subresource::ServiceProxy => {
                &["create", "delete", "get", "patch", "update"]
            }
            Subresource::Approval
            | Subresource::EphemeralContainers
            | Subresource::Resize
            | Subresource::Scale
            | Subresource::Status => &["get", "patch", "update"],
        }
    }

    /// Whether it takes every method, and a path behind it.
    pub fn is_proxy(self) -> bool {
        matches!(self, Subresource::NodeProxy | Subresource::PodProxy | Subresource::ServiceProxy)
    }

    /// `(group, version, kind)` of what it answers with; `None` where that is the kind itself.
    pub fn response_kind(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Subresource::Attach => Some(("", "", "PodAttachOptions")),
            Subresource::Binding => Some(("", "", "Binding")),
            Subresource::Eviction => Some(("policy", "v1", "Eviction")),
            Subresource::Exec => Some(("", "", "PodExecOptions")),
            Subresource::NodeProxy => Some(("", "", "NodeProxyOptions")),
            Subresource::PodProxy => Some(("", "", "PodProxyOptions")),
            Subresource::PortForward => Some(("", "", "PodPortForwardOptions")),
            Subresource::ServiceProxy => Some(("", "", "ServiceProxyOptions")),
            Subresource::Scale => Some(("autoscaling", "v1", "Scale")),
            Subresource::Token => Some(("authentication.k8s.io", "v1", "TokenRequest")),
            Subresource::Approval
            | Subresource::EphemeralContainers
            | Subresource::Finalize
            | Subresource::Log
            | Subresource::Resize
            | Subresource::Status => None,
        }
    }
}

/// A subresource besides the status that changes a part of the object.
#[derive(Clone, Copy)]
pub struct Edit {
    pub subresource: Subresource,
    /// What it changes: whoever writes it comes to say that and nothing else.
    pub reach: Reach<'static>,
    /// `(new, old)`: keeps all that is not the subresource's.
    pub prepare: fn(&mut Value, &Value),
    /// `(new, old)`: what the change must satisfy.
    pub validate: fn(&Value, &Value, &mut Faults),
}

/// JSON pointers that the Scale form reads, and the one it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Read and written.
    pub spec_replicas: &'static str,
    pub status_replicas: &'static str,
    pub selector: &'static str,
    pub selector_form: SelectorForm,
}

/// How a kind writes its selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectorForm {
    /// A `metav1.LabelSelector`.
    Requirements,
    /// A map of labels.
    Labels,
    /// The text form.
    Text,
}
