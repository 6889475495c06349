//! One schema engine over a type table: strict decoding, pruning, defaults, patches, OpenAPI.
