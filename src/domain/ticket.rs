//! Tickets: proof that a settlement surely did not happen and the person paid.
//!
//! A ticket closes once, in one of three ways; a replacement that is on its way keeps the other
//! two out, so there is one winner.

use super::cell::words;

words!(
    /// Where a ticket stands.
    TicketState, "ticket state", {
        /// Nobody has made it good yet.
        Open = "open",
        /// A new settlement that names it was applied.
        Resettled = "resettled",
        /// The person was reimbursed by hand.
        ReimbursedManually = "reimbursed_manually",
        /// The person gave it up.
        Waived = "waived",
    }
);

impl TicketState {
    /// Whether it has been made good or given up.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        match self {
            Self::Open => false,
            Self::Resettled | Self::ReimbursedManually | Self::Waived => true,
        }
    }
}
