//! The node agent: a pure pod state machine with executors for containers, volumes, probes and network around it.
