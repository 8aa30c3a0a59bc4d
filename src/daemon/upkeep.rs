//! What the daemon does beside its work, for as long as it runs: free space, the journal's upkeep,
//! snapshots, retention, and the gauges.
//!
//! Each is a supervised task that is begun again when it fails. Nothing here decides about a
//! transaction.

use super::clock::real_sleep;
use super::observe::standing;
use super::parts::{room, tell_damage, write_snapshot};
use super::retention::{Ages, Retention};
use super::serve::Daemon;
use super::tasks::{Kind, LAST, stand_back};
use crate::domain::ids::Seq;
use crate::engine::event::Event;
use crate::engine::settings::Settings;
use crate::journal;
use crate::telemetry::events;
use anyhow::{Context, Result};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often index and backlog are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the journal's own work is looked at: at 40 MB a second a segment of 64 MiB is full in
/// less than two seconds, and its successor is made in small pieces.
const UPKEEP_EVERY: Duration = Duration::from_millis(25);
/// How often free space is looked at: submissions must not eat the reserve between two looks.
const LOOK_AT_SPACE_EVERY: Duration = Duration::from_millis(100);

impl Daemon {
    /// Watches free space, does the journal's upkeep, and renews the gauges.
    pub(super) fn keep_the_disk(&self) {
        self.keep_the_reserve();
        self.keep_the_journal();
        self.keep_checking();
        let folder = self.config.data.folder.clone();
        let reserve = self.config.data.disk_reserve_bytes;
        let (engine, metrics, clock) =
            (self.engine.clone(), self.metrics.clone(), self.clock.clone());
        let (watch, believed) = (self.watch.clone(), self.believed.clone());
        self.tasks.keep_running(Kind::Upkeep, "disk", move || {
            let folder = folder.clone();
            let (engine, metrics, clock) = (engine.clone(), metrics.clone(), clock.clone());
            let (watch, believed) = (watch.clone(), believed.clone());
            async move {
                let mut clock_jump_ms = None;
                loop {
                    let at = folder.clone();
                    let looked = tokio::task::spawn_blocking(move || room(&at, reserve));
                    let room = looked.await.map_err(std::io::Error::other)??;
                    events::store_measured(room);
                    match engine.read(standing).await {
                        Some(seen) => {
                            if seen.clock_jump_ms.is_some() != clock_jump_ms.is_some() {
                                events::clock_turned(seen.clock_jump_ms);
                            }
                            clock_jump_ms = seen.clock_jump_ms;
                            // By the clock that whoever reads it goes by, believed or not.
                            events::stands(&seen, clock.now().wall);
                            watch.look(room, &seen, believed.now());
                        }
                        None => return std::io::Result::Ok(()),
                    }
                    metrics.upkeep();
                    real_sleep(LOOK_EVERY).await;
                }
            }
        });
    }

    /// Does the journal's work beside the commits.
    fn keep_the_journal(&self) {
        let upkeep = self.upkeep.clone();
        self.tasks.keep_running(Kind::Upkeep, "journal", move || {
            let upkeep = upkeep.clone();
            async move {
                loop {
                    let work = upkeep.clone();
                    tokio::task::spawn_blocking(move || work.run_once())
                        .await
                        .map_err(std::io::Error::other)??;
                    real_sleep(UPKEEP_EVERY).await;
                }
                #[expect(unreachable_code, reason = "names the type of the error")]
                std::io::Result::Ok(())
            }
        });
    }

    /// Reads the segments that the start did not need to read, one a second, so that damage in
    /// them is known before somebody needs what is damaged.
    fn keep_checking(&self) {
        let upkeep = self.upkeep.clone();
        self.tasks.keep_running(Kind::Upkeep, "check", move || {
            let upkeep = upkeep.clone();
            async move {
                loop {
                    let work = upkeep.clone();
                    let checked = tokio::task::spawn_blocking(move || work.check_next());
                    let checked = checked.await.map_err(std::io::Error::other)??;
                    tell_damage(&checked.unwrap_or_default());
                    real_sleep(LOOK_EVERY).await;
                }
                #[expect(unreachable_code, reason = "names the type of the error")]
                std::io::Result::Ok(())
            }
        });
    }

    /// Writes a snapshot whenever enough has happened since the last one, so that a start after
    /// a crash has little to fold. It is folded from the files, beside the engine.
    pub(super) fn keep_snapshots(&self, snapshots: journal::Snapshots, settings: Settings) {
        let reader = self.reader.clone();
        let every = self.config.journal.snapshot_every_records;
        let tasks = self.tasks.clone();
        self.tasks.keep_running(Kind::Upkeep, "snapshots", move || {
            let (reader, settings) = (reader.clone(), settings.clone());
            let (snapshots, tasks) = (snapshots.clone(), tasks.clone());
            async move {
                let mut last = reader.last();
                loop {
                    real_sleep(LOOK_EVERY).await;
                    let up_to = reader.last();
                    if up_to.0 - last.0 < every {
                        continue;
                    }
                    let (reader, settings) = (reader.clone(), settings.clone());
                    let snapshots = snapshots.clone();
                    let (tell, told) = tokio::sync::oneshot::channel();
                    // With ten million waiting it took a quarter of two cores from those who wait.
                    tasks.spawn_thread(Kind::Upkeep, "snapshot", move || {
                        stand_back(LAST);
                        let written = write_snapshot(&snapshots, settings, reader.as_ref(), up_to);
                        // Nobody listens any more at the end.
                        drop(tell.send(written));
                    });
                    told.await.context("writing a snapshot met a defect")??;
                    tracing::debug!(up_to = up_to.0, "a snapshot was written");
                    last = up_to;
                }
                #[expect(unreachable_code, reason = "names the type of the error")]
                Result::<()>::Ok(())
            }
        });
    }

    /// Lets old segments leave.
    pub(super) fn keep_retention(&self, retirement: journal::Retirement) {
        let journal = &self.config.journal;
        let ages = Ages {
            forward_after: journal.forward_after,
            retention: journal.retention,
            archive: journal.archive,
        };
        let (reader, engine) = (self.reader.clone(), self.engine.clone());
        self.tasks.keep_running(Kind::Upkeep, "retention", move || {
            let mut retention = Retention {
                ages,
                retirement: retirement.clone(),
                reader: reader.clone(),
                engine: engine.clone(),
                forwarded: Vec::new(),
                looked_at: Seq(0),
            };
            async move {
                loop {
                    retention.run_once().await?;
                    real_sleep(LOOK_EVERY).await;
                }
                #[expect(unreachable_code, reason = "names the type of the error")]
                Result::<()>::Ok(())
            }
        });
    }

    /// Turns submissions away while the disk has no more than its reserve.
    fn keep_the_reserve(&self) {
        let (folder, flag) = (self.config.data.folder.clone(), self.disk_reserve.clone());
        let reserve = self.config.data.disk_reserve_bytes;
        let engine = self.engine.clone();
        self.tasks.keep_running(Kind::Upkeep, "disk-reserve", move || {
            let (folder, flag, engine) = (folder.clone(), flag.clone(), engine.clone());
            let mut looked = 0u32;
            async move {
                loop {
                    let at = folder.clone();
                    let free = tokio::task::spawn_blocking(move || journal::files::free_bytes(&at));
                    let short = free.await.map_err(std::io::Error::other)?? < reserve;
                    if flag.swap(short, Ordering::SeqCst) != short {
                        events::store_read_only(short);
                    }
                    // Once a second: it is the state that counts, not each submission.
                    looked = looked.wrapping_add(1);
                    if short && looked.is_multiple_of(10) {
                        engine.tell(Event::NoRoom).await;
                    }
                    real_sleep(LOOK_AT_SPACE_EVERY).await;
                }
                #[expect(unreachable_code, reason = "names the type of the error")]
                std::io::Result::Ok(())
            }
        });
    }
}
