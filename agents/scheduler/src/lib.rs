//! The scheduler: pure cycles over a snapshot of the cluster, through the `kube` client only.
