//! Stored files: what survives a cut of the power, and what damage is found.

use super::super::fault::{Cut, Faults, FaultyDisk};
use super::super::files::RealFiles;
use super::super::seal::MasterKey;
use super::*;
use crate::domain::attachment::{Content, Digest};
use crate::engine::ports::Vault;

const CODE: &str = "H11010500001";

fn vault(files: &dyn Files) -> Arc<FileVault> {
    Arc::new(FileVault::open_on(files, &MasterKey::from_bytes([7; 32])).unwrap())
}

fn store_on(files: Arc<dyn Files>, archive: bool) -> BlobStore {
    let vault = vault(files.as_ref());
    let store = BlobStore::new(files, vault, archive);
    store.prepare().unwrap();
    store
}

/// A folder on the real disk, and the store in it.
fn store() -> (tempfile::TempDir, BlobStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = store_on(Arc::new(RealFiles::new(folder.path())), false);
    (folder, store)
}

fn name(store: &BlobStore, code: &str, number: u8) -> BlobName {
    store.vault.blob_name(&code.parse().unwrap(), &Digest::new([number; 32]))
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

fn at() -> Timestamp {
    Timestamp::from_millis(1_660_000_000_000)
}

fn put(store: &BlobStore, number: u8, content: &[u8]) -> Result<Blob, BlobError> {
    let (code, name) = (CODE.parse().unwrap(), name(store, CODE, number));
    let mut writer = store.create(&code, at(), name)?;
    // In pieces that fit no chunk.
    for piece in content.chunks(10_007) {
        writer.write(piece)?;
    }
    let (file, bytes) = (writer.finish()?, content.len() as u64);
    let content = Content::Pdf;
    Ok(Blob { name, file, institution: code, bytes, content, at: at(), named: None })
}

#[test]
fn what_was_stored_is_read_back_whatever_its_length() {
    let (_folder, store) = store();
    let lengths = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 17];
    for (number, length) in (0u8..).zip(lengths) {
        let content = bytes(length);
        let blob = put(&store, number, &content).unwrap();
        assert_eq!(store.read(&blob).unwrap(), content, "{length}");
        store.check(&blob).unwrap();
        let longer = Blob { bytes: blob.bytes + 1, ..blob };
        assert!(matches!(store.check(&longer), Err(BlobError::Damaged(_))), "{length}");
    }
}

#[test]
fn nothing_private_stands_in_a_file_or_its_name() {
    let (folder, store) = store();
    let content = [b"a person's name ".as_slice(); 40].concat();
    let blob = put(&store, 3, &content).unwrap();
    let stored = std::fs::read(folder.path().join(path((blob.name, blob.file)))).unwrap();
    assert!(!stored.windows(8).any(|window| content.windows(8).any(|part| part == window)));
    assert!(!blob.file_name().contains("0303"), "{}", blob.file_name());
}

#[test]
fn equal_files_of_two_institutions_are_two_and_neither_opens_the_other() {
    let (_folder, store) = store();
    let mine = put(&store, 1, b"%PDF-1").unwrap();
    assert_ne!(mine.name, name(&store, "H11010500002", 1));
    let theirs = Blob { institution: "H11010500002".parse().unwrap(), ..mine };
    assert!(matches!(store.read(&theirs), Err(BlobError::Damaged(_))));
}

#[test]
fn a_flipped_bit_anywhere_is_found_with_the_key_and_without() {
    let (folder, store) = store();
    let blob = put(&store, 1, &bytes(CHUNK + 100)).unwrap();
    let file = folder.path().join(path((blob.name, blob.file)));
    let whole = std::fs::read(&file).unwrap();
    let mut expected = Expected::default();
    expected.take(&Change::BlobStored(blob.clone()));
    let places =
        (0..200).chain((200..whole.len()).step_by(997)).chain(whole.len() - 3..whole.len());
    for place in places {
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << (place % 8);
        std::fs::write(&file, &flipped).unwrap();
        assert!(matches!(store.read(&blob), Err(BlobError::Damaged(_))), "{place}");
        let checked = check(store.files.as_ref(), &expected).unwrap();
        assert!(checked[0].2.is_some(), "{place}");
    }
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(check(store.files.as_ref(), &expected).unwrap()[0].2, None);
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(store.read(&blob), Err(BlobError::Missing)));
    let checked = check(store.files.as_ref(), &expected).unwrap();
    assert_eq!((checked.len(), checked[0].2.is_some()), (1, true), "one that is missing is told");
}

#[test]
fn chunks_that_were_cut_off_moved_or_taken_from_elsewhere_do_not_open() {
    let (folder, store) = store();
    let (one, two) = (bytes(3 * CHUNK), bytes(3 * CHUNK));
    let (one, two) = (put(&store, 1, &one).unwrap(), put(&store, 2, &two).unwrap());
    let place = |blob: &Blob| folder.path().join(path((blob.name, blob.file)));
    let (mine, other) = (std::fs::read(place(&one)).unwrap(), std::fs::read(place(&two)).unwrap());
    let step = CHUNK_HEAD + CHUNK + SEAL_BYTES;
    let chunk = |from: &[u8], number: usize| {
        from[HEADER + number * step..HEADER + (number + 1) * step].to_vec()
    };
    let head = mine[..HEADER].to_vec();
    let forged: [(&str, Vec<Vec<u8>>); 6] = [
        ("cut off at a chunk", vec![head.clone(), chunk(&mine, 0), chunk(&mine, 1)]),
        ("moved", vec![head.clone(), chunk(&mine, 1), chunk(&mine, 0), chunk(&mine, 2)]),
        ("left out", vec![head.clone(), chunk(&mine, 0), chunk(&mine, 2)]),
        ("another's", vec![head.clone(), chunk(&mine, 0), chunk(&other, 1), chunk(&mine, 2)]),
        ("more behind the last", vec![mine.clone(), chunk(&mine, 2)]),
        ("another's whole", vec![other.clone()]),
    ];
    for (what, parts) in forged {
        std::fs::write(place(&one), parts.concat()).unwrap();
        assert!(matches!(store.read(&one), Err(BlobError::Damaged(_))), "{what}");
    }
    // Whoever can mend the sums cannot mend the seals.
    let mut moved = [head, chunk(&mine, 1), chunk(&mine, 0), chunk(&mine, 2)].concat();
    for number in 0..2u64 {
        let from = HEADER + usize::try_from(number).unwrap() * step;
        let length = u32::from_le_bytes(moved[from..from + 4].try_into().unwrap());
        let sealed = moved[from + CHUNK_HEAD..from + step].to_vec();
        let crc = chunk_crc((one.name, one.file), number, length, &sealed);
        moved[from + 4..from + 8].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::write(place(&one), moved).unwrap();
    assert!(matches!(store.read(&one), Err(BlobError::Damaged(_))), "with its sums mended");
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    let (folder, store) = store();
    let code = CODE.parse().unwrap();
    let mut writer = store.create(&code, at(), name(&store, CODE, 1)).unwrap();
    writer.write(&bytes(2 * CHUNK)).unwrap();
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 0);
}

#[test]
fn a_start_puts_away_what_nobody_knows_and_tells_what_is_missing() {
    for archive in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = store_on(Arc::new(RealFiles::new(folder.path())), archive);
        let (kept, unknown) = (put(&store, 1, b"kept").unwrap(), put(&store, 2, b"gone").unwrap());
        let place = |blob: &Blob| path((blob.name, blob.file));
        std::fs::write(folder.path().join(format!("{}.tmp", place(&unknown))), b"half").unwrap();
        std::fs::write(folder.path().join("blobs/README"), b"not ours").unwrap();
        let absent = name(&store, CODE, 9);
        let known = BTreeSet::from([(kept.name, kept.file), (absent, 5)]);
        let settled = store.settle(&known).unwrap();
        assert_eq!(settled, Settled { put_away: 2, missing: vec![(absent, 5)] });
        assert_eq!(store.read(&kept).unwrap().as_ref(), b"kept");
        assert!(matches!(store.read(&unknown), Err(BlobError::Missing)));
        let left = folder.path().join(ARCHIVE).join(place(&unknown));
        assert_eq!(left.exists(), archive);
        assert!(folder.path().join("blobs/README").exists());
        let again = store.settle(&known).unwrap();
        assert_eq!(again.put_away, 0, "and once");
        assert!(store.leave(&[(unknown.name, unknown.file)]).is_ok(), "what has gone has gone");
    }
}

/// The content under test: more than one chunk.
fn content() -> Vec<u8> {
    bytes(CHUNK + 300)
}

#[test]
fn a_file_whose_writer_was_told_survives_a_cut_at_every_later_operation() {
    // Count the operations, then stop at each of them and cut the power.
    let ready = |disk: &FaultyDisk| store_on(Arc::new(disk.clone()), false);
    let both = |store: &BlobStore| -> Vec<Blob> {
        [1, 2].iter().filter_map(|&number| put(store, number, &content()).ok()).collect()
    };
    let disk = FaultyDisk::new();
    let store = ready(&disk);
    disk.set_faults(Faults::default());
    assert_eq!(both(&store).len(), 2);
    let all = disk.counted().0;
    assert!(all > 10, "{all}");
    for stop in 1..=all + 1 {
        for cut in [Cut::Lost, Cut::Kept, Cut::Torn(stop), Cut::Reordered(stop)] {
            for names in [false, true] {
                let disk = FaultyDisk::new();
                let store = ready(&disk);
                disk.set_faults(Faults { stop_at: Some(stop), ..Faults::default() });
                let told = both(&store);
                assert!(stop <= all || told.len() == 2);
                drop(store);
                disk.crash(cut, names);
                let store = ready(&disk);
                let known = told.iter().map(|blob| (blob.name, blob.file)).collect();
                let settled = store.settle(&known).unwrap();
                assert!(settled.missing.is_empty(), "{stop} {cut:?} {names}");
                for blob in &told {
                    assert_eq!(store.read(blob).unwrap(), content(), "{stop} {cut:?} {names}");
                }
                let left = disk.contents().iter().filter(|(n, _)| n.starts_with("blobs/")).count();
                assert_eq!(left, told.len(), "{stop} {cut:?} {names}");
            }
        }
    }
}

#[test]
fn a_full_disk_and_a_failed_sync_store_nothing_and_say_so() {
    let disk = FaultyDisk::new();
    let store = store_on(Arc::new(disk.clone()), false);
    put(&store, 1, &content()).unwrap();
    let taken: u64 = disk.contents().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    disk.set_faults(Faults { capacity: Some(taken + 70_000), ..Faults::default() });
    assert!(matches!(put(&store, 2, &bytes(2 * CHUNK)), Err(BlobError::Full(_))));
    disk.set_faults(Faults::default());
    put(&store, 2, &bytes(2 * CHUNK)).unwrap();
    for later in 1..=2 {
        disk.set_faults(Faults { fail_sync: Some(later), ..Faults::default() });
        assert!(matches!(put(&store, 3, &content()), Err(BlobError::Io(_))), "{later}");
    }
    disk.set_faults(Faults::default());
    put(&store, 3, &content()).unwrap();
}
