//! Reading a stored file of which only the name is known.
//!
//! Where it lies is the engine's to say, and what it says is old a moment later: the file may have
//! left, or been replaced, before it is opened. So damage counts only where the engine, asked once
//! more, still says the same place. What comes of damage is the caller's.

use super::change::Blob;
use super::ports::{BlobError, Blobs};
use super::run::Handle;
use crate::domain::ids::BlobName;
use crate::telemetry::events;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// Reads the whole file of that name. `None` where there is none, or none any more.
///
/// # Errors
/// See [`BlobError`]; told in the log by then.
pub async fn read(
    engine: &Handle,
    blobs: &Arc<dyn Blobs>,
    name: BlobName,
) -> Result<Option<(Blob, Bytes)>, BlobError> {
    let Some(mut blob) = known(engine, name).await? else { return Ok(None) };
    let mut read = whole(blobs, &blob).await;
    if read.as_ref().is_err_and(BlobError::is_damage) {
        let Some(now) = known(engine, name).await? else { return Ok(None) };
        if now.file != blob.file {
            read = whole(blobs, &now).await;
            blob = now;
        }
    }
    let read = read.inspect_err(|error| {
        events::attachment_unreadable(&blob.file_name(), error, error.is_damage());
    });
    read.map(|bytes| Some((blob, bytes)))
}

async fn known(engine: &Handle, name: BlobName) -> Result<Option<Blob>, BlobError> {
    let known = engine.read(move |machine, _| machine.blob(name).cloned()).await;
    Ok(known.ok_or_else(|| io::Error::other("the engine has ended"))?)
}

async fn whole(blobs: &Arc<dyn Blobs>, blob: &Blob) -> Result<Bytes, BlobError> {
    let (blobs, blob) = (Arc::clone(blobs), blob.clone());
    tokio::task::spawn_blocking(move || blobs.read(&blob)).await.map_err(io::Error::other)?
}
