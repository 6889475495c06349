//! openraft's own tests of storage, run on ours.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::machine::Machine;
use super::{LogStore, TypeConfig};
use crate::store::{HistoryLimits, Store};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let log = LogStore::open(&dir.path().join("log")).unwrap();
        let store: Arc<Store> = Store::open(&dir.path().join("state"), HistoryLimits::default(), 16).unwrap();
        Ok((dir, log.clone(), Machine::new(store, log)))
    }
}

#[tokio::test]
async fn passes_openrafts_storage_suite() {
    Suite::test_all(Builder).await.unwrap();
}
