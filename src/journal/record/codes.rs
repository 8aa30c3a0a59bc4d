//! The stored numbers of closed sets. A number, once given, is never given to another word;
//! a new variant does not compile until it has one.

use super::Malformed;
use crate::domain::attachment::Content;
use crate::domain::cell::{Channel, Class, Operation};
use crate::domain::outcome::{DoubtReason, TransientReason};
use crate::domain::policy::{Advice, Disposition};
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::engine::change::ResolvedBy;

/// A closed set whose members are stored as one byte.
pub(super) trait Coded: Sized {
    fn code(self) -> u8;
    fn of(code: u8) -> Result<Self, Malformed>;
}

macro_rules! codes {
    ($($name:ident { $($variant:ident = $code:literal,)+ })+) => {
        $(impl Coded for $name {
            fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)+ }
            }

            fn of(code: u8) -> Result<Self, Malformed> {
                match code {
                    $($code => Ok(Self::$variant),)+
                    _ => Err(Malformed(concat!("unknown code of ", stringify!($name)))),
                }
            }
        })+
    };
}

codes! {
    Operation {
        Request = 1, Advice = 2, Apply = 3, Handle = 4, Review = 5, Backfill = 6, Cancel = 7,
        Query = 8,
    }
    Class {
        Hospital = 1, Pharmacy = 2, DistrictMedicalAgency = 3, SocialInsuranceAgency = 4,
        Employer = 5, Hall = 6, Portal = 7,
    }
    Channel { Hall = 1, Online = 2, Mobile = 3, System = 4, }
    Disposition {
        Pass = 1, PassOrTicket = 2, PassOrHold = 3, Hold = 4, HoldForRelease = 5, PreAccept = 6,
        Refuse = 7,
    }
    Advice {
        None = 1, ChargeSplit = 2, ChargeFull = 3, DoNotFinalise = 4, Credit = 5,
        GoElsewhere = 6, ComeBack = 7, KeepOriginals = 8, MaterialsTaken = 9,
    }
    TransientReason {
        Unreachable = 1, Busy = 2, Unavailable = 3, GateClosed = 4, Stopping = 5, NotFound = 6,
        ByPerson = 7, RecordDamaged = 8, RecordUnreadable = 9, AttachmentRefused = 10,
    }
    Content { Jpeg = 1, Png = 2, Pdf = 3, Compound = 4, Zip = 5, }
    DoubtReason { Timeout = 1, Cut = 2, Unreadable = 3, Unlisted = 4, Restart = 5, }
    State {
        Waiting = 1, InFlight = 2, InDoubt = 3, ActionRequired = 4, DeadLettered = 5,
        Ticketed = 6, Applied = 7, Refused = 8, Withdrawn = 9, Superseded = 10,
    }
    TicketState { Open = 1, Resettled = 2, ReimbursedManually = 3, Waived = 4, }
    ResolvedBy { Asking = 1, Person = 2, }
}
