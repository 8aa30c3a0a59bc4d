//! What one person alone may not do, where the configuration says so.
//!
//! Each deed is named by what it does and not by a command: the same order may be one today and
//! none tomorrow. Which order is one is the engine's to see (`engine/consent.rs`).

use super::cell::words;

words!(
    /// A deed that can be made to need two persons.
    Deed, "deed", {
        /// Let go before its time what a window or an operator has stopped.
        OpenEarly = "open_early",
        /// Say what became of a transaction of which nobody can tell.
        ResolveDoubt = "resolve_doubt",
        /// Replace the rule by which a window that was published moves dates.
        ShortenDate = "shorten_date",
    }
);
