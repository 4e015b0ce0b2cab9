//! openraft's own suite for log stores and state machines.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use twin_storage::consensus::TypeConfig;
use twin_storage::consensus::openraft;
use twin_storage::{Group, LogStore, StateMachine, Storage};

use crate::world::{CELL, fresh};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, (Storage, TempDir)> for Builder {
    async fn build(&self) -> Result<((Storage, TempDir), LogStore, StateMachine), StorageError<TypeConfig>> {
        let (directory, storage) = fresh();
        let Group { log, state_machine, .. } = storage.group(CELL);
        Ok(((storage, directory), log, state_machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openrafts_own_suite_passes() {
    Suite::test_all(Builder).await.expect("the suite passes");
}
