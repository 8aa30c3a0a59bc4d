//! The audit log: any change to any line is named, and what was promised survives.

use holdover::admin::audit::{
    Audit, AuditError, Entry, FILE_NAME, Loss, Outcome, is_cut, tail, tell_loss, verify,
};
use holdover::domain::time::Timestamp;
use std::path::{Path, PathBuf};

fn entry(n: i64) -> Entry {
    Entry {
        at: Timestamp::from_millis(1_660_300_000_000 + n),
        actor: "li.na".to_owned(),
        key: "k1".to_owned(),
        scopes: vec!["operate".to_owned()],
        source: "127.0.0.1:9".to_owned(),
        action: "gate.close".to_owned(),
        object: format!("cells {n}"),
        reason: "the agency\nasked \"us\"".to_owned(),
        before: serde_json::Value::Null,
        after: serde_json::json!({"until": n}),
        request_id: format!("req-{n}"),
        outcome: Outcome::Begun,
        code: None,
        of: None,
    }
}

fn five_records(folder: &Path) -> PathBuf {
    let audit = Audit::open(folder).unwrap();
    for n in 0..5 {
        audit.append(&entry(n)).unwrap();
    }
    folder.join(FILE_NAME)
}

fn first_bad(path: &Path, noted: Option<&str>) -> Option<u64> {
    match verify(path, noted) {
        Ok(_) => None,
        Err(AuditError::Bad(bad)) => Some(bad.line),
        Err(other) => panic!("{other}"),
    }
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> =
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
    std::fs::write(path, text).unwrap();
}

#[test]
fn an_intact_log_verifies_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = five_records(folder.path());
    let noted = verify(&path, None).unwrap().head;
    assert_eq!(noted.records, 5);

    let audit = Audit::open(folder.path()).unwrap();
    assert_eq!(audit.head(), noted);
    let head = audit.append(&Entry { outcome: Outcome::Done, of: Some(2), ..entry(6) }).unwrap();
    let summary = verify(&path, Some(&noted.hash)).unwrap();
    assert_eq!(summary.head, head);
    assert_eq!(summary.unfinished, [1, 3, 4, 5]);
    let last: Vec<u64> = tail(&path, 2).unwrap().iter().map(|r| r.seq).collect();
    assert_eq!(last, [5, 6]);
    assert_eq!(tail(&path, 9).unwrap()[0].entry, entry(0));
}

#[test]
fn an_edited_line_is_named_whichever_it_is_and_whatever_was_edited() {
    let folder = tempfile::tempdir().unwrap();
    let path = five_records(folder.path());
    let original = std::fs::read(&path).unwrap();
    let mut line = 1;
    for at in 0..original.len() {
        let mut bytes = original.clone();
        if bytes[at] == b'\n' {
            line += 1;
            continue;
        }
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(first_bad(&path, None), Some(line), "byte {at}");
        assert!(Audit::open(folder.path()).is_err(), "byte {at}");
    }
}

#[test]
fn a_deleted_line_is_named() {
    for gone in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let path = five_records(folder.path());
        rewrite(&path, |lines| drop(lines.remove(gone)));
        assert_eq!(first_bad(&path, None), Some(gone as u64 + 1));
    }
}

#[test]
fn two_lines_in_another_order_are_named() {
    for first in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let path = five_records(folder.path());
        rewrite(&path, |lines| lines.swap(first, first + 1));
        assert_eq!(first_bad(&path, None), Some(first as u64 + 1));
    }
}

#[test]
fn a_line_put_in_twice_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = five_records(folder.path());
    rewrite(&path, |lines| lines.insert(3, lines[2].clone()));
    assert_eq!(first_bad(&path, None), Some(4));
}

#[test]
fn lines_cut_off_the_end_are_seen_against_a_noted_head() {
    for kept in 0..5u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = five_records(folder.path());
        let noted = verify(&path, None).unwrap().head.hash;
        rewrite(&path, |lines| lines.truncate(usize::try_from(kept).unwrap()));
        assert_eq!(first_bad(&path, None), None, "a shorter chain alone looks intact");
        assert_eq!(first_bad(&path, Some(&noted)), Some(kept + 1));
    }
}

#[test]
fn a_torn_tail_is_cut_and_nothing_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = five_records(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let head = verify(&path, None).unwrap().head;
    for torn in [&b"{\"seq\":6,\"at\":"[..], &[0; 40], &b"{\"seq\":6\0\0\0\n"[..]] {
        let bytes: Vec<u8> = whole.iter().chain(torn).copied().collect();
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(verify(&path, None).unwrap().torn_bytes, torn.len() as u64);
        let audit = Audit::open(folder.path()).unwrap();
        assert_eq!(audit.head(), head);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn a_log_that_lacks_what_was_noted_of_it_is_cut_and_one_that_has_more_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = five_records(folder.path());
    let noted = verify(&path, None).unwrap().head;
    assert!(!is_cut(&path, &noted).unwrap());
    // A crash between a line and its note leaves the log longer, whole line or not.
    Audit::open(folder.path()).unwrap().append(&entry(5)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [whole.as_slice(), b"{\"seq\":7,"].concat()).unwrap();
    assert!(!is_cut(&path, &noted).unwrap());
    std::fs::write(&path, &whole).unwrap();

    for kept in 0..5 {
        rewrite(&path, |lines| lines.truncate(kept));
        assert!(is_cut(&path, &noted).unwrap(), "{kept} lines of 5");
        std::fs::write(&path, &whole).unwrap();
    }
    std::fs::remove_file(&path).unwrap();
    assert!(is_cut(&path, &noted).unwrap());
    // As many lines as before, and others.
    let audit = Audit::open(folder.path()).unwrap();
    (10..15).for_each(|n| drop(audit.append(&entry(n)).unwrap()));
    assert_eq!(audit.head().records, noted.records);
    assert!(is_cut(&path, &noted).unwrap());
}

#[test]
fn a_loss_that_the_log_tells_of_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = five_records(folder.path());
    let noted = verify(&path, None).unwrap().head;
    rewrite(&path, |lines| lines.truncate(3));
    let audit = Audit::open(folder.path()).unwrap();
    assert_eq!(audit.losses(), 0);
    let head = tell_loss(&audit, &noted, Timestamp::from_millis(0)).unwrap();
    let losses = verify(&path, None).unwrap().losses;
    assert_eq!(losses, [Loss { line: 4, at: Timestamp::from_millis(0) }]);
    // A crash before the journal noted the new end.
    assert!(!is_cut(&path, &noted).unwrap());
    assert!(!is_cut(&path, &head).unwrap());
    assert_eq!(Audit::open(folder.path()).unwrap().losses(), 1);
    assert_eq!(
        first_bad(&path, Some(&noted.hash)),
        Some(5),
        "who trusts neither file still sees it"
    );
    // And what tells of it cannot be removed either.
    rewrite(&path, |lines| lines.truncate(3));
    assert!(is_cut(&path, &head).unwrap());
}
