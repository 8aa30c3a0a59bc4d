//! Announcements: submitters and whoever else is configured are told of stops and of moved
//! deadlines, by signed HTTP calls (Standard Webhooks 1.0.0) and by `GET /v1/announcements`.
//!
//! ```text
//!  engine (windows, the time) ─┐
//!                              ├─► follow ─► outbox (one file) ─┬─► deliver, one a subscriber ─► HTTP
//!  journal (dates told) ───────┘                                └─► GET /v1/announcements
//! ```
//!
//! What is told is worked out once, for all, and written down before anybody hears of it: a line of
//! the *outbox* holds what a look brought **and** the place from which the next look goes on, so
//! neither can be there without the other. A restart therefore makes none anew and leaves none out.
//! Its id follows from what it says (window, version and moment; the change that told a date), so
//! one that were worked out twice in spite of that is recognised by its id, here and by whoever is
//! told.
//!
//! Each subscriber has its own *place* in the outbox, written after a 2xx. A crash between the two
//! delivers once more, under the same id and with the same bytes. Nothing is skipped and nothing
//! overtaken: a subscriber that is away gets everything later, in order, for as long as
//! [`outbox::KEPT_FOR`]. Only what everybody was told is let go of before, where there are more than
//! [`outbox::KEPT_MAX`]. One that answers 410 is told nothing more until the configuration is read
//! again or the daemon starts anew, and nothing is kept for it beyond that number.
//!
//! Windows are read from the engine between two steps, where all their versions are, and not from
//! the journal: what was committed by then is in the look, and no time and no change can come
//! between. Dates that were told are followed in the journal, only where a subscriber asks for them.
//! `domain::announcement` says which moments there are, `sentence` how they are put.
//!
//! Not here: results of transactions. Kafka's topics and `GET /v1/transactions/{id}` have those.

mod deliver;
mod follow;
pub(super) mod listing;
mod outbox;
mod post;
mod sentence;
mod sign;

pub use deliver::{Subscriber, deliver};
pub use follow::follow;
pub use outbox::{OpenError, Outbox};
pub use sign::{KeyError, Keys};
