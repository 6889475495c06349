//! Service addresses on a node: follows Services and EndpointSlices, programs nftables.
