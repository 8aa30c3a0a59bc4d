//! What the disk itself can do: the measure for everything that must be durable.

use crate::load::percentile;
use anyhow::Result;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Appends `chunk` to a new file and makes it durable, again and again for `time`.
/// Returns chunks a second.
pub(crate) fn append_and_sync(folder: &Path, chunk: &[u8], time: Duration) -> Result<f64> {
    let path = folder.join("append");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let began = Instant::now();
    let mut chunks = 0u32;
    while began.elapsed() < time {
        file.write_all(chunk)?;
        file.sync_data()?;
        chunks += 1;
    }
    let rate = f64::from(chunks) / began.elapsed().as_secs_f64();
    drop(file);
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// How long one fdatasync of `bytes` just written into space that was allocated before takes:
/// the median and the 99th percentile, in microseconds.
pub(crate) fn sync_latency_us(folder: &Path, bytes: usize, time: Duration) -> Result<(u32, u32)> {
    const ALLOCATED: usize = 64 << 20;
    let path = folder.join("sync");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    file.write_all(&vec![0; ALLOCATED])?;
    file.sync_all()?;
    let chunk = vec![0x5a; bytes];
    let mut latencies = Vec::new();
    let mut at = ALLOCATED;
    let began = Instant::now();
    while began.elapsed() < time {
        if at + bytes > ALLOCATED {
            std::io::Seek::rewind(&mut file)?;
            at = 0;
        }
        file.write_all(&chunk)?;
        at += bytes;
        let sync_began = Instant::now();
        file.sync_data()?;
        latencies.push(u32::try_from(sync_began.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    latencies.sort_unstable();
    drop(file);
    std::fs::remove_file(path)?;
    Ok((percentile(&latencies, 0.5), percentile(&latencies, 0.99)))
}

/// The bytes that a folder takes on the disk, allocated blocks and not lengths.
pub(crate) fn folder_bytes(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum +=
            if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(sum)
}
