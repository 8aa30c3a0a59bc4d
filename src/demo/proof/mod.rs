//! The proof: what was promised, recounted from what the clients hold, from the journal and from
//! the cores' own logs.
//!
//! Nothing here asks the daemon how it thinks it did. Three sources, each read by its own file,
//! are turned into plain values; one check per promise compares them. A check that finds nothing
//! wrong says so by returning nothing.
//!
//! ```text
//!  receipts (clients) ─┐
//!  journal scan ───────┼─► P1 kept   P2 once   P3 in order   P4 not while closed
//!  cores' logs ────────┘   P5 dates moved   P6 books balance   and: as the notice says
//! ```

pub mod books;
pub mod calls;
pub mod dates;
pub mod journal;
pub mod kept;
pub mod notice;

use serde::Serialize;

/// Findings of one promise that are spelt out; the rest is counted.
const SPELT_OUT_MAX: usize = 20;

/// A promise that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// `P1` to `P6`; `notice` where the notice was not followed; `plot` where the demo itself did
    /// not go as it was meant to.
    pub promise: &'static str,
    /// What it is about: a transaction, a date, a column of the books.
    pub id: String,
    /// What happened, in a sentence.
    pub what: String,
}

impl Broken {
    pub(super) fn new(promise: &'static str, id: impl ToString, what: impl Into<String>) -> Self {
        Self { promise, id: id.to_string(), what: what.into() }
    }
}

/// Every finding, promise by promise; long lists are cut and counted.
#[must_use]
pub fn gather(findings: Vec<Vec<Broken>>) -> Vec<Broken> {
    let mut all = Vec::new();
    for mut list in findings {
        let more = list.len().saturating_sub(SPELT_OUT_MAX);
        list.truncate(SPELT_OUT_MAX);
        let promise = list.first().map(|first| first.promise);
        all.append(&mut list);
        if let (Some(promise), true) = (promise, more > 0) {
            all.push(Broken::new(promise, "…", format!("and {more} more of the same kind")));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_findings_are_cut_and_counted() {
        let many: Vec<Broken> = (0..50).map(|n| Broken::new("P2", n, "twice")).collect();
        let all = gather(vec![Vec::new(), many]);
        assert_eq!(all.len(), SPELT_OUT_MAX + 1);
        assert_eq!(all.last().map(|b| b.what.as_str()), Some("and 30 more of the same kind"));
    }
}
