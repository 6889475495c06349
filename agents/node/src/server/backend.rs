//! What the node's API needs of the rest: the pods of this node by name, and what runs their containers. The node implements
//! it; tests use a fake.

use std::{path::PathBuf, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use kontiki_runtime::Usage;
use tokio::io::{AsyncRead, AsyncWrite};

use super::access::Verdict;
use crate::{
    containers::{Answer, Command, Image, Refusal, Session},
    disk::Written,
    load::Load,
    probes::Tally,
};

pub trait Backend: Send + Sync + 'static {
    fn node_name(&self) -> &str;

    /// All pods bound to this node, each with its newest status.
    fn pods(&self) -> Vec<Arc<Pod>>;
    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>>;
    /// Where a run of a container is: `container_id` is what the pod's status has as `containerID`.
    fn place(&self, pod: &Pod, container_id: &str) -> Option<Place>;

    /// Whether the container may still write to its log. One that is not there does not.
    fn is_alive<'a>(&'a self, place: &'a Place) -> Answer<'a, bool>;
    fn exec<'a>(&'a self, place: &'a Place, command: Command) -> Answer<'a, Session>;
    /// The streams of the container's own process, from now on; they end with it.
    fn attach<'a>(&'a self, place: &'a Place, stdin: bool) -> Answer<'a, Session>;
    /// A connection to a port on the pod's loopback.
    fn connect<'a>(&'a self, pod: &'a Pod, port: u16) -> Answer<'a, Box<dyn Connection>>;
    /// How the probes of its pods have gone.
    fn probes(&self) -> Tally;
    fn load(&self) -> Result<Load, Refusal>;
    /// What the pod has on the node's disk; takes its time.
    fn written<'a>(&'a self, pod: &'a Pod) -> Answer<'a, Written>;
    /// What one container, or with `None` the whole pod, has used.
    fn usage<'a>(&'a self, pod: &'a Pod, place: Option<&'a Place>) -> Answer<'a, Usage>;

    /// Whether the holder of a token may get this subresource of the node.
    fn review<'a>(&'a self, token: &'a str, subresource: &'a str) -> Answer<'a, Verdict>;

    fn images(&self) -> Answer<'_, Vec<Image>>;
    /// Reads the archive to its end; its failure fails the import.
    fn import<'a>(&'a self, name: Option<&'a str>, archive: Archive) -> Answer<'a, Image>;
    /// Refused while a container uses the image.
    fn remove_image<'a>(&'a self, reference: &'a str) -> Answer<'a, ()>;
}

/// One run of one container, in the runtime's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub sandbox: String,
    pub container: String,
    /// Its log file in the CRI format; rotated ones are beside it as `<log>.1`, the newest, and so on.
    pub log: PathBuf,
}

pub type Archive = Box<dyn AsyncRead + Send + Unpin>;

pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}
