//! What this server serves at one moment: the kinds, the APIs of other servers, and the documents that tell of them. It is replaced
//! as a whole when one of them changes; a request sees one registry from its beginning to its end.

use std::sync::{Arc, OnceLock};

use kontiki_kinds::Kinds;

use crate::{
    aggregation::Apis,
    discovery::Discovery,
    openapi::{Described, OpenApi},
};

pub(crate) struct Registry {
    pub kinds: Kinds,
    apis: Arc<Apis>,
    discovery: OnceLock<Discovery>,
    openapi: OnceLock<OpenApi>,
    /// What was described before, most of which is still so.
    described: Described,
}

impl Registry {
    pub fn new(kinds: Kinds, apis: Arc<Apis>) -> Self {
        Registry { kinds, apis, discovery: OnceLock::new(), openapi: OnceLock::new(), described: Described::default() }
    }

    /// The one that takes this one's place.
    pub fn replaced(&self, kinds: Kinds, apis: Arc<Apis>) -> Self {
        let described = self.openapi.get().map_or(&self.described, OpenApi::described).clone();
        Registry { described, ..Registry::new(kinds, apis) }
    }

    /// The APIServices, as far as this server knows.
    pub fn apis(&self) -> &Arc<Apis> {
        &self.apis
    }

    /// Made when first asked for.
    pub fn discovery(&self) -> &Discovery {
        self.discovery.get_or_init(|| Discovery::new(&self.kinds, &self.apis))
    }

    /// Made when first asked for.
    pub fn openapi(&self) -> &OpenApi {
        self.openapi.get_or_init(|| OpenApi::new(self.kinds.clone(), self.apis.clone(), &self.described))
    }
}
