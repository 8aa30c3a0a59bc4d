//! API keys: making, listing, revoking; and who may do what with one.

use crate::intake_rig::{at, institution, key_of};
use holdover::domain::cell::Channel;
use holdover::web::access::{Holder, KeyFile, NewKey, Scope, create, list, revoke};
use holdover::web::keyfile::Error;
use std::os::unix::fs::PermissionsExt;

fn new_key() -> NewKey {
    key_of(institution("H11010500001"), &[Channel::Hall], &[Scope::Submit, Scope::Read])
}

#[test]
fn a_key_is_good_from_its_making_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let keys = KeyFile::open(&path).unwrap();
    let expires_at = Some(at("2022-08-20T00:00:00Z"));
    let key = create(&path, NewKey { expires_at, ..new_key() }).unwrap();
    let principal = keys.verify(&key, at("2022-08-13T00:00:00Z")).expect("found in the new file");
    assert_eq!(principal.institution().unwrap().0.code.as_str(), "H11010500001");
    assert!(principal.may(Scope::Submit) && !principal.may(Scope::Operate));
    assert!(keys.verify(&key, at("2022-08-19T23:59:59.999Z")).is_some());
    assert!(keys.verify(&key, at("2022-08-20T00:00:00Z")).is_none());
    assert!(keys.bearer(&format!("Basic {key}"), at("2022-08-13T00:00:00Z")).is_none());
    assert!(keys.bearer(&format!("bearer {key}"), at("2022-08-13T00:00:00Z")).is_some());
}

#[test]
fn another_keys_secret_under_a_good_id_is_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let (one, two) = (create(&path, new_key()).unwrap(), create(&path, new_key()).unwrap());
    let keys = KeyFile::open(&path).unwrap();
    // The id of one, the secret of the other, with a right checksum.
    let mixed = format!("{}{}", &one[..19], &two[19..51]);
    let mixed = format!("{mixed}_{:08x}", crc32c::crc32c(mixed.as_bytes()));
    assert_eq!(mixed.len(), one.len());
    let now = at("2022-08-13T00:00:00Z");
    assert!(keys.verify(&mixed, now).is_none());
    assert!(keys.verify(&one, now).is_some() && keys.verify(&two, now).is_some());
}

#[test]
fn a_revoked_key_stops_within_a_second_and_keeps_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let key = create(&path, new_key()).unwrap();
    let keys = KeyFile::open(&path).unwrap();
    assert!(keys.verify(&key, at("2022-08-13T00:00:00Z")).is_some());
    let id = list(&path).unwrap()[0].id.clone();
    revoke(&path, &id, at("2022-08-13T00:00:00Z")).unwrap();
    assert!(keys.verify(&key, at("2022-08-13T00:00:01Z")).is_none());
    let listed = list(&path).unwrap();
    assert_eq!(listed[0].revoked_at, Some(at("2022-08-13T00:00:00Z")));
    assert!(matches!(
        revoke(&path, "0000000000", at("2022-08-13T00:00:00Z")),
        Err(Error::Unknown(_))
    ));
}

#[test]
fn what_nobody_may_do_is_told_until_there_is_a_good_key_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let keys = KeyFile::open(&path).unwrap();
    let lacking = |now: &str| -> Vec<Scope> {
        keys.lacks(at(now)).into_iter().map(|lack| lack.scope).collect()
    };
    let day = "2022-08-13T00:00:00Z";
    assert_eq!(lacking(day), [Scope::Submit, Scope::Operate]);
    let told = keys.lacks(at(day))[0].to_string();
    let command = format!("holdover key create --keys {} --scope submit", path.display());
    assert!(told.contains("nobody may submit") && told.contains(&command), "{told}");

    let expires_at = Some(at("2022-08-20T00:00:00Z"));
    create(&path, NewKey { expires_at, ..new_key() }).unwrap();
    assert_eq!(lacking(day), [Scope::Operate]);
    let holder = Holder::Operator { name: "Li Wei".to_owned() };
    create(&path, NewKey { holder, scopes: vec![Scope::Operate], ..new_key() }).unwrap();
    assert_eq!(lacking(day), []);
    assert_eq!(lacking("2022-08-20T00:00:00Z"), [Scope::Submit], "an expired key is no key");
    let operators = list(&path).unwrap()[1].id.clone();
    revoke(&path, &operators, at(day)).unwrap();
    assert_eq!(lacking(day), [Scope::Operate], "nor is a revoked one");
}

#[test]
fn the_file_has_no_secret_and_is_closed_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let key = create(&path, new_key()).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let secret = &key[19..51];
    assert!(!text.contains(secret));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(KeyFile::open(&path), Err(Error::TooOpen(_))));
}

#[test]
fn a_damaged_file_keeps_the_keys_that_were_good_and_refuses_to_open_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let key = create(&path, new_key()).unwrap();
    let keys = KeyFile::open(&path).unwrap();
    std::fs::write(&path, "{\"version\":1,").unwrap();
    assert!(keys.verify(&key, at("2022-08-13T00:00:02Z")).is_some());
    assert!(matches!(KeyFile::open(&path), Err(Error::Damaged { .. })));
}

#[test]
fn keys_that_mix_submitters_and_operators_are_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let operator = |name: &str| Holder::Operator { name: name.to_owned() };
    for (holder, scopes) in [
        (operator("Li Wei"), vec![Scope::Submit]),
        (operator(" "), vec![Scope::Operate]),
        (new_key().holder, vec![Scope::Operate]),
        (new_key().holder, vec![]),
        (
            Holder::Institution { institution: institution("H1"), channels: vec![] },
            vec![Scope::Read],
        ),
    ] {
        let made = create(&path, NewKey { holder, scopes, ..new_key() });
        assert!(matches!(made, Err(Error::Invalid(_))), "{made:?}");
    }
    assert!(!path.exists());
    let scopes = vec![Scope::Operate, Scope::Approve, Scope::Read];
    assert!(create(&path, NewKey { holder: operator("Li Wei"), scopes, ..new_key() }).is_ok());
}

#[test]
fn keys_made_at_the_same_time_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| drop(create(&path, new_key()).unwrap())));
        }
    });
    assert_eq!(list(&path).unwrap().len(), 20);
}

#[test]
fn one_person_gets_no_second_name_that_differs_in_case_or_spaces_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let make = |name: &str, now: &str| {
        let holder = Holder::Operator { name: name.to_owned() };
        let (scopes, created_at) = (vec![Scope::Operate], at(now));
        create(&path, NewKey { holder, scopes, created_at, expires_at: None })
    };
    make("Anna A", "2022-08-13T00:00:00Z").unwrap();
    for name in ["anna a", "Anna  A", " Anna A", "AnnaA", "Anna\u{3000}A"] {
        let refused = make(name, "2022-08-13T00:00:00Z");
        assert!(matches!(&refused, Err(Error::Alike(known)) if known == "Anna A"), "{refused:?}");
    }
    make("Anna A", "2022-08-13T00:00:00Z").expect("a second key of the same person");
    make("Anna B", "2022-08-13T00:00:00Z").expect("another person");
    assert_eq!(list(&path).unwrap().len(), 3, "what is refused is not written");
    // A name that was misspelt is free again once its keys are revoked.
    for key in list(&path).unwrap() {
        revoke(&path, &key.id, at("2022-08-14T00:00:00Z")).unwrap();
    }
    make("anna a", "2022-08-15T00:00:00Z").unwrap();
}
