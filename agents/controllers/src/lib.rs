//! Controllers: level-based, each a pure `reconcile(view) -> actions` with a thin loop around it, through the `kube` client only.
