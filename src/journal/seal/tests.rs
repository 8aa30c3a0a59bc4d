//! The vault: what opens, what does not, and what is left after a crash.

use super::*;
use crate::journal::fault::{Cut, Faults, FaultyDisk};

fn master() -> MasterKey {
    MasterKey::from_bytes([7; KEY])
}

fn private() -> Private {
    Private {
        idempotency_key: "key-1".parse().unwrap(),
        insured: "person-8801".to_owned(),
        visit: Some("visit".to_owned()),
        ground: None,
        attributes: [("population".to_owned(), "employee".to_owned())].into(),
        attachments: Vec::new(),
        paper: Vec::new(),
        payload: Bytes::from_static(b"{\"any\": \"bytes\xff\"}"),
    }
}

fn code(text: &str) -> InstitutionCode {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn what_was_sealed_opens_after_a_restart_for_its_institution_only() {
    let disk = FaultyDisk::new();
    let (hospital, other, now) = (code("H1"), code("H2"), at("2022-08-12T19:00:00+08:00"));
    let vault = FileVault::open_on(&disk, &master()).unwrap();
    let sealed = vault.seal(&hospital, now, &private()).unwrap();
    let answer = vault.seal_answer(&hospital, now, b"ok").unwrap();
    assert!(!sealed.bytes.windows(11).any(|w| w == b"person-8801"));
    drop(vault);
    disk.crash(Cut::Lost, false);
    let vault = FileVault::open_on(&disk, &master()).unwrap();
    assert_eq!(vault.open(&hospital, &sealed).unwrap(), private());
    assert_eq!(vault.open_answer(&hospital, &answer).unwrap(), Bytes::from_static(b"ok"));
    assert!(matches!(vault.open(&other, &sealed), Err(SealError::Damaged)));
    assert!(matches!(vault.open(&hospital, &answer), Err(SealError::Damaged)));
    let wrong = FileVault::open_on(&disk, &MasterKey::from_bytes([8; KEY]));
    assert!(matches!(wrong.err(), Some(VaultError::WrongMasterKey)));
}

#[test]
fn every_institution_and_month_has_its_own_key() {
    let vault = FileVault::open_on(&FaultyDisk::new(), &master()).unwrap();
    let seal = |who: &str, when: &str| vault.seal_answer(&code(who), at(when), b"").unwrap().key_id;
    let august = seal("H1", "2022-08-12T19:00:00Z");
    assert_eq!(seal("H1", "2022-08-31T23:59:59Z"), august);
    assert_ne!(seal("H1", "2022-09-01T00:00:00Z"), august);
    assert_ne!(seal("H2", "2022-08-12T19:00:00Z"), august);
    assert_eq!(vault.key_ids().len(), 3);
}

#[test]
fn a_destroyed_key_opens_nothing_any_more_and_its_bytes_are_gone() {
    let disk = FaultyDisk::new();
    let vault = FileVault::open_on(&disk, &master()).unwrap();
    let now = at("2022-08-12T19:00:00Z");
    let sealed = vault.seal(&code("H1"), now, &private()).unwrap();
    let kept = vault.seal(&code("H2"), now, &private()).unwrap();
    let before = disk.contents();
    vault.destroy(sealed.key_id).unwrap();
    assert!(matches!(vault.destroy(sealed.key_id), Err(SealError::NoKey(_))));
    drop(vault);
    let vault = FileVault::open_on(&disk, &master()).unwrap();
    assert!(matches!(vault.open(&code("H1"), &sealed), Err(SealError::NoKey(_))));
    assert_eq!(vault.open(&code("H2"), &kept).unwrap(), private());
    let wrapped = before[0].1[MAGIC.len() + FIXED + 2..][..WRAPPED].to_vec();
    assert!(!disk.contents()[0].1.windows(WRAPPED).any(|w| w == wrapped));
    assert_ne!(vault.seal(&code("H1"), now, &private()).unwrap().key_id, sealed.key_id);
}

#[test]
fn a_changed_bit_is_never_opened() {
    let vault = FileVault::open_on(&FaultyDisk::new(), &master()).unwrap();
    let hospital = code("H1");
    let sealed = vault.seal(&hospital, at("2022-08-12T19:00:00Z"), &private()).unwrap();
    for byte in 0..sealed.bytes.len() {
        let mut bytes = sealed.bytes.to_vec();
        bytes[byte] ^= 4;
        let changed = Sealed { bytes: bytes.into(), ..sealed.clone() };
        assert!(matches!(vault.open(&hospital, &changed), Err(SealError::Damaged)));
    }
}

#[test]
fn a_damaged_key_file_is_refused_and_a_torn_end_is_not() {
    let disk = FaultyDisk::new();
    let vault = FileVault::open_on(&disk, &master()).unwrap();
    for who in ["H1", "H2", "H3"] {
        vault.seal_answer(&code(who), at("2022-08-12T19:00:00Z"), b"").unwrap();
    }
    drop(vault);
    let files = disk.contents();
    let length = files[0].1.len();
    for byte in 0..length {
        let flipped = FaultyDisk::holding(&files);
        flipped.flip(NAME, byte as u64 * 8 + 3);
        let opened = FileVault::open_on(&flipped, &master());
        assert!(opened.is_err(), "byte {byte} of {length}");
    }
    for cut in 1..FIXED + 2 + WRAPPED {
        let mut torn = files.clone();
        torn[0].1.truncate(length - cut);
        let disk = FaultyDisk::holding(&torn);
        let vault = FileVault::open_on(&disk, &master()).unwrap();
        assert_eq!(vault.key_ids(), [1, 2]);
        vault.seal_answer(&code("H4"), at("2022-08-12T19:00:00Z"), b"").unwrap();
        drop(vault);
        assert_eq!(FileVault::open_on(&disk, &master()).unwrap().key_ids(), [1, 2, 3]);
    }
}

#[test]
fn nothing_is_sealed_with_a_key_that_could_be_lost() {
    let now = at("2022-08-12T19:00:00Z");
    for stop in 1..12 {
        let disk = FaultyDisk::new();
        disk.set_faults(Faults { stop_at: Some(stop), ..Faults::default() });
        let mut sealed = Vec::new();
        if let Ok(vault) = FileVault::open_on(&disk, &master()) {
            for who in ["H1", "H2", "H3"] {
                sealed.extend(vault.seal(&code(who), now, &private()).map(|s| (who, s)));
            }
        }
        for cut in [Cut::Lost, Cut::Torn(stop), Cut::Reordered(stop)] {
            let after = disk.clone();
            after.crash(cut, false);
            let vault = FileVault::open_on(&after, &master()).unwrap();
            for (who, sealed) in &sealed {
                assert_eq!(vault.open(&code(who), sealed).unwrap(), private(), "stop {stop}");
            }
        }
    }
}

#[test]
fn a_master_key_is_made_once_and_never_for_keys_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    let first = MasterKey::load_or_create(&path, folder.path()).unwrap();
    let again = MasterKey::load_or_create(&path, folder.path()).unwrap();
    assert_eq!(first.0, again.0);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    drop(FileVault::open(folder.path(), &first).unwrap());
    std::fs::remove_file(&path).unwrap();
    let missing = MasterKey::load_or_create(&path, folder.path());
    assert!(matches!(missing, Err(VaultError::MasterKeyMissing)));
    std::fs::write(&path, b"short").unwrap();
    let short = MasterKey::load_or_create(&path, folder.path());
    assert!(matches!(short, Err(VaultError::BadMasterKey)));
}

#[test]
fn hashes_tell_their_parts_apart_and_stay_the_same_for_ever() {
    let vault = FileVault::open_on(&FaultyDisk::new(), &master()).unwrap();
    let again = FileVault::open_on(&FaultyDisk::new(), &master()).unwrap();
    let (a, b) = (code("H1"), code("H12"));
    let key = |text: &str| text.parse::<IdempotencyKey>().unwrap();
    assert_ne!(vault.key_hash(&a, &key("2x")), vault.key_hash(&b, &key("x")));
    assert_eq!(vault.key_hash(&a, &key("x")), again.key_hash(&a, &key("x")));
    assert_ne!(vault.ordering_key(&a, "x", "yz"), vault.ordering_key(&a, "xy", "z"));
    // Stored for years: these numbers must never change.
    assert_eq!(vault.fingerprint(b"content").0, 14_721_764_281_308_650_249);
}
