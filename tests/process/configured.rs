//! A window that stands in the configuration and has been declared is not declared again: where
//! the two differ, the log says so at each start, and the declared one stays.

use crate::rig::Site;
use serde_json::Value;

/// A stop far ahead. What it says of one business is filled in.
const WINDOW: &str = r#"
[window.far]
starts_at = "2099-08-12T19:00:00+08:00"
ends_at = "2099-08-15T06:00:00+08:00"
author = "duty officer"
reason = "upgrade"
restore_by = "signed"

[window.far.notice]
source = "the bureau"
published_at = "2099-08-01T09:00:00+08:00"

[[window.far.row]]
clause = "1"
disposition = "pass"

[[window.far.row]]
clause = "2"
disposition = "DISPOSITION"
[window.far.row.cells]
business = ["filing.out_of_area"]
"#;

fn configured(disposition: &str) -> String {
    WINDOW.replace("DISPOSITION", disposition)
}

/// Starts a daemon with `config` laid over; what it said about a difference, and the window.
fn starts(site: &Site, config: &str) -> (Vec<String>, Value) {
    std::fs::write(site.folder().join("extra.toml"), config).unwrap();
    let daemon = site.start();
    let shown = daemon.look("/admin/v1/windows/far");
    let said = daemon.said();
    let warnings = said.lines().filter(|line| line.contains("differs from the one"));
    (warnings.map(str::to_owned).collect(), shown)
}

#[test]
fn a_configured_window_that_differs_from_the_declared_one_is_told_and_changes_nothing() {
    let site = Site::new("");
    let (said, declared) = starts(&site, &configured("hold"));
    assert_eq!((said.len(), &declared["version"]), (0, &Value::from(1)), "{said:?}");
    let (said, same) = starts(&site, &configured("hold"));
    assert!(said.is_empty() && same == declared, "{said:?} {same}");
    let longer = configured("hold").replace("2099-08-15T06", "2099-08-15T12");
    for other in [configured("refuse"), longer] {
        let (said, kept) = starts(&site, &other);
        let [warning] = said.as_slice() else { panic!("{said:?}") };
        for word in ["far", "holdover window", "WARN"] {
            assert!(warning.contains(word), "{warning}");
        }
        assert_eq!(kept, declared);
    }
}
