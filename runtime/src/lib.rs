//! Images, root filesystems, sandboxes and containers through libcontainer; the shim.
//! Speaks OCI and its own spec: knows neither the API nor the cluster.
pub mod spec;
