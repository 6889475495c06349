//! What the benchmark's client and its log server both know: the one gRPC call they share.
pub mod grpc;
