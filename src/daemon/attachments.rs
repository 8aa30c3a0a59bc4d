//! The stored files beside the engine: the store is made, compared with what the journal knows, and
//! swept as long as the daemon runs.

use super::clock::real_sleep;
use super::parts::open_vault;
use super::serve::Daemon;
use super::tasks::Kind;
use crate::config::Config;
use crate::domain::ids::Seq;
use crate::engine::change::file_name;
use crate::engine::event::Event;
use crate::engine::machine::Machine;
use crate::engine::ports::Vault;
use crate::intake::bundle::Bundles;
use crate::journal::BlobStore;
use crate::journal::files::RealFiles;
use crate::telemetry::events;

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often some of the files are looked at for what nothing names: a million take four minutes.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What is made of the keys: what seals, who signs, and the store in the data folder.
pub(super) struct Kept {
    pub(super) vault: Arc<dyn Vault>,
    pub(super) bundles: Arc<Bundles>,
    pub(super) blobs: Arc<BlobStore>,
}

/// Opens the keys, for a journal whose last record is `last`. The folder is not touched yet.
pub(super) fn open(config: &Config, last: Seq) -> Result<Kept> {
    let (vault, signer) =
        open_vault(config, last).context("the keys that seal payloads cannot be opened")?;
    let files = Arc::new(RealFiles::new(&config.data.folder));
    let blobs = Arc::new(BlobStore::new(files, vault.clone(), config.journal.archive));
    Ok(Kept { vault, bundles: Arc::new(Bundles::new(signer)), blobs })
}

/// Makes the folder where it is absent, puts away what the journal does not know, and tells what of
/// that which it knows is missing. Before anything is stored; in quarantine nothing is touched.
pub(super) fn settle(store: &BlobStore, machine: &Machine) -> Result<()> {
    if machine.is_quarantined() {
        return Ok(());
    }
    let known: BTreeSet<_> = machine.blobs().map(|blob| (blob.name, blob.file)).collect();
    let settled = store.prepare().and_then(|()| store.settle(&known));
    let settled = settled.context("the stored attachments cannot be looked at")?;
    let missing = settled.missing.into_iter().map(|(name, file)| file_name(name, file));
    events::attachments_settled(settled.put_away, &missing.collect::<Vec<_>>());
    Ok(())
}

impl Daemon {
    /// Has the engine forget, little by little, what nothing names any more.
    pub(super) fn keep_the_attachments(&self) {
        let engine = self.engine.clone();
        self.tasks.keep_running(Kind::Upkeep, "attachments", move || {
            let engine = engine.clone();
            async move {
                loop {
                    engine.tell(Event::SweepBlobs).await;
                    real_sleep(SWEEP_EVERY).await;
                }
                #[expect(unreachable_code, reason = "names the type of the error")]
                std::io::Result::Ok(())
            }
        });
    }
}
