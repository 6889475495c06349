//! What this server serves at one moment: the kinds, and the documents that tell of them. It is replaced as a whole when a
//! definition changes; a request sees one registry from its beginning to its end.

use std::sync::OnceLock;

use kontiki_kinds::Kinds;

use crate::{discovery::Discovery, openapi::OpenApi};

pub(crate) struct Registry {
    pub kinds: Kinds,
    discovery: OnceLock<Discovery>,
    openapi: OnceLock<OpenApi>,
}

impl Registry {
    pub fn new(kinds: Kinds) -> Self {
        Registry { kinds, discovery: OnceLock::new(), openapi: OnceLock::new() }
    }

    /// Made when first asked for.
    pub fn discovery(&self) -> &Discovery {
        self.discovery.get_or_init(|| Discovery::new(&self.kinds))
    }

    /// Made when first asked for.
    pub fn openapi(&self) -> &OpenApi {
        self.openapi.get_or_init(|| OpenApi::new(self.kinds.clone()))
    }
}
