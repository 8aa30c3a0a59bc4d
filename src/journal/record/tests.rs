//! The codec against every kind of change.

use super::*;
use crate::journal::sample;
use proptest::prelude::*;

const STAMP: Stamp = Stamp { partition: 3, epoch: 9 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_change_comes_back_as_it_was(seed: u64) {
        let mut dice = sample::Dice::new(seed);
        for kind in 1..=sample::KINDS {
            let change = sample::change(&mut dice, kind);
            let mut bytes = Vec::new();
            encode(&mut bytes, STAMP, Seq(77), &change, Timestamp::from_millis(5));
            let raw = Raw::at(&bytes).unwrap();
            prop_assert!(raw.is_intact() && raw.length() == bytes.len());
            prop_assert_eq!((raw.seq(), raw.epoch(), raw.partition()), (Seq(77), 9, 3));
            prop_assert_eq!(raw.kind(), kind);
            prop_assert_eq!(raw.change().unwrap(), Some(change));
        }
    }

    #[test]
    fn a_flipped_bit_is_always_seen(seed: u64) {
        let mut dice = sample::Dice::new(seed);
        let kind = dice.kind();
        let change = sample::change(&mut dice, kind);
        let mut bytes = Vec::new();
        encode(&mut bytes, STAMP, Seq(1), &change, Timestamp::default());
        let bit = dice.below(bytes.len() as u64 * 8);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        prop_assert!(Raw::at(&bytes).is_none_or(|raw| !raw.is_intact()));
    }

    #[test]
    fn bytes_that_nobody_wrote_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 44..200), kind in 1u8..32) {
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[8] = FORMAT;
        bytes[9] = kind;
        if let Some(raw) = Raw::at(&bytes) {
            // Whatever comes of it, it must come back.
            drop(raw.change());
        }
    }
}

/// A walk makes each cell once: two that differ in one part only must stay two.
#[test]
fn a_walk_confuses_no_two_cells_and_no_two_institutions() {
    use crate::domain::cell::{Channel, Class, Operation};
    let Change::Accepted(first) = sample::change(&mut sample::Dice::new(4), 2) else {
        panic!("kind 2 is an accepted transaction")
    };
    let mut first = (*first).clone();
    let mut cell = (*first.cell).clone();
    (cell.upstream, cell.business) = ("ab".parse().unwrap(), "c".parse().unwrap());
    cell.operation = Operation::Apply;
    (cell.class, cell.channel) = (Class::Hall, Channel::Hall);
    cell.district = "d".parse().unwrap();
    (cell.labels, cell.attributes) =
        (vec!["l".parse().unwrap()], [("a".into(), "b".into())].into());
    let edits: [fn(&mut crate::domain::cell::Cell); 10] = [
        |_| {},
        |c| (c.upstream, c.business) = ("a".parse().unwrap(), "bc".parse().unwrap()),
        |c| c.business = "cd".parse().unwrap(),
        |c| c.operation = Operation::Handle,
        |c| c.class = Class::Portal,
        |c| c.channel = Channel::Online,
        |c| c.district = "e".parse().unwrap(),
        |c| c.labels.clear(),
        |c| c.labels.push("m".parse().unwrap()),
        |c| c.attributes = [("a".into(), "c".into())].into(),
    ];
    let mut seen = Seen::default();
    for round in 0..2 {
        for edit in edits {
            for institution in ["H1", "H2"] {
                let mut edited = cell.clone();
                edit(&mut edited);
                first.cell = edited.into();
                first.institution = institution.parse().unwrap();
                let change = Change::Accepted(first.clone().into());
                let mut bytes = Vec::new();
                encode(&mut bytes, STAMP, Seq(1), &change, Timestamp::default());
                let read = Raw::at(&bytes).unwrap().change_among(&mut seen).unwrap();
                assert_eq!(read, Some(change), "round {round}");
            }
        }
    }
}

#[test]
fn stored_files_and_who_names_them_are_read_back() {
    use crate::domain::attachment::Content;
    use crate::domain::ids::BlobName;
    use crate::engine::change::Blob;
    let names = [BlobName(1), BlobName(u128::MAX)];
    let mut naming = sample::accepted(&mut sample::Dice::new(4));
    naming.blobs = names.to_vec();
    naming.told.incurred_in = Some("stop".parse().unwrap());
    let naming = std::sync::Arc::new(naming);
    let at = Timestamp::from_millis(1_660_000_000_000);
    let mut changes = vec![
        Change::Accepted(naming.clone()),
        Change::Forwarded { transaction: Seq(3), accepted: naming, at },
        Change::BlobsRemoved { names: names.to_vec(), at },
        Change::BlobsRemoved { names: Vec::new(), at },
    ];
    for (&content, named) in Content::ALL.iter().zip([None, Some(Seq(1)), None, None, None]) {
        let institution = "H11010500001".parse().unwrap();
        let (name, file, bytes) = (names[1], u64::MAX, 1 << 40);
        changes.push(Change::BlobStored(Blob {
            name,
            file,
            institution,
            bytes,
            content,
            at,
            named,
        }));
    }
    for change in changes {
        let mut bytes = Vec::new();
        encode(&mut bytes, STAMP, Seq(1), &change, Timestamp::default());
        assert_eq!(Raw::at(&bytes).unwrap().change().unwrap(), Some(change));
    }
}

#[test]
fn what_was_told_as_kept_is_read_back_and_an_older_record_did_not_say_it() {
    for kept in [false, true] {
        let mut accepted = sample::accepted(&mut sample::Dice::new(4));
        accepted.told.kept = kept;
        let change = Change::Accepted(std::sync::Arc::new(accepted));
        let mut bytes = Vec::new();
        encode(&mut bytes, STAMP, Seq(1), &change, Timestamp::default());
        assert_eq!(Raw::at(&bytes).unwrap().change().unwrap(), Some(change));
    }
}

fn accepted(flags: u8, version: u8, kind: Option<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let change = sample::change(&mut sample::Dice::new(4), 2);
    encode(&mut bytes, STAMP, Seq(1), &change, Timestamp::default());
    bytes[8] = version;
    bytes[10] = flags;
    if let Some(kind) = kind {
        bytes[9] = kind;
    }
    finish(&mut bytes, 0);
    bytes
}

#[test]
fn an_unknown_type_is_skipped_only_where_its_writer_allowed_it() {
    let skipped = accepted(SKIPPABLE, FORMAT, Some(200));
    assert_eq!(Raw::at(&skipped).unwrap().change(), Ok(None));
    let refused = accepted(0, FORMAT, Some(200));
    assert!(Raw::at(&refused).unwrap().change().is_err());
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let newer = accepted(SKIPPABLE, FORMAT + 1, None);
    let error = Raw::at(&newer).unwrap().change().unwrap_err();
    assert!(error.to_string().contains("newer format"), "{error}");
}

#[test]
fn the_records_of_an_attempt_are_small() {
    let change = Change::AttemptStarted {
        transaction: Seq(10_000_000),
        attempt: crate::domain::ids::AttemptNo(1),
        at: Timestamp::from_millis(1_660_000_000_000),
    };
    let mut bytes = Vec::new();
    encode(&mut bytes, STAMP, Seq(10_000_001), &change, Timestamp::default());
    assert!(bytes.len() <= 56, "{}", bytes.len());
}
