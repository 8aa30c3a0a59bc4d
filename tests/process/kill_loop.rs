//! Killing the real daemon under load, again and again: nothing is lost, nothing doubled.

use crate::history::{History, draw};
use crate::rig::Site;
use std::time::Duration;

#[test]
fn what_was_acknowledged_is_applied_once() {
    let site = Site::new("");
    let history = History::new(site.folder());
    let daemon = site.start();
    let mut random = fastrand::Rng::with_seed(1);
    let mut clients: Vec<_> = site.submitters.iter().map(|s| daemon.client(s)).collect();
    for _ in 0..200 {
        let intent = draw(&mut random, &site.submitters, 30);
        let client = &mut clients[intent.submitter];
        let answer = history.post(client, intent).unwrap();
        assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
    }
    daemon.kill();
    let daemon = site.start();
    let proof = history.prove(&site, &daemon, Duration::from_secs(20));
    println!("{:?} {proof:?}", history.totals());
}
