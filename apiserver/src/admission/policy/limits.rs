//! Bounds of what policies may cost and say, as Kubernetes has them.

use std::time::Duration;

/// One evaluation of one expression.
pub const EXPRESSION_COST_MAX: u64 = 1_000_000;
/// All expressions of a policy on one request with one set of parameters.
pub const POLICY_COST_MAX: u64 = 10_000_000;
/// All match conditions of a policy or a webhook.
pub const CONDITIONS_COST_MAX: u64 = 2_500_000;
/// A longer message is not told.
pub const MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// A longer annotation is cut.
pub const ANNOTATION_BYTES_MAX: usize = 10 * 1024;
/// Kinds that a policy's expressions are checked against.
pub const TYPES_CHECKED_MAX: usize = 10;
/// After a failure, the policies are looked through again.
pub const CHECK_RETRY_INTERVAL: Duration = Duration::from_secs(1);

const _: () = assert!(EXPRESSION_COST_MAX < CONDITIONS_COST_MAX && CONDITIONS_COST_MAX < POLICY_COST_MAX);
