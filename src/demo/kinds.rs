//! The kinds of submission that the demo makes: one per line of the notice's policy table and
//! class of submitter, with what the notice says about each.
//!
//! The table is written down here a second time, apart from the configuration, so that the proof
//! can hold the daemon's answers against the notice and not against the daemon's own reading.

use crate::domain::cell::{Channel, Class, Operation};
use crate::domain::policy::Disposition;

/// What is submitted, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A hospital asks for an outpatient settlement.
    Outpatient,
    /// A hospital asks for an inpatient settlement.
    Inpatient,
    /// A pharmacy asks for a settlement.
    Pharmacy,
    /// A hospital reports what it settled locally for an outpatient.
    OutpatientAdvice,
    /// A hospital reports what it settled locally for an inpatient.
    InpatientAdvice,
    /// A pharmacy reports what it settled locally.
    PharmacyAdvice,
    /// A person applies at a hall: special disease, out of area.
    SpecialDisease,
    /// An agency handles such an application.
    SpecialDiseaseHandling,
    /// A person files afterwards for the time of the stop.
    SpecialDiseaseBackfill,
    /// A person applies at a hall: out of area.
    OutOfAreaAtHall,
    /// A person applies on line: out of area.
    OutOfAreaOnline,
    /// A medical or social-insurance agency handles such an application.
    OutOfAreaHandling,
    /// An agency reviews an application made on line.
    OutOfAreaReview,
    /// A person files afterwards for the time of the stop.
    OutOfAreaBackfill,
    /// A person asks for reimbursement of costs paid in full.
    Reimbursement,
    /// The same, with a ground that staff approved, at a hall.
    SpecialCase,
    /// A hospital files a special outpatient disease.
    SpecialOutpatientAtHospital,
    /// An agency files a special outpatient disease.
    SpecialOutpatientAtAgency,
    /// A transfer from a personal account.
    AccountTransfer,
    /// A question on line.
    Query,
}

/// What the notice says about a kind while the stop is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// The notice's clause.
    pub clause: &'static str,
    /// What is done.
    pub disposition: Disposition,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 20] = [
        Self::Outpatient,
        Self::Inpatient,
        Self::Pharmacy,
        Self::OutpatientAdvice,
        Self::InpatientAdvice,
        Self::PharmacyAdvice,
        Self::SpecialDisease,
        Self::SpecialDiseaseHandling,
        Self::SpecialDiseaseBackfill,
        Self::OutOfAreaAtHall,
        Self::OutOfAreaOnline,
        Self::OutOfAreaHandling,
        Self::OutOfAreaReview,
        Self::OutOfAreaBackfill,
        Self::Reimbursement,
        Self::SpecialCase,
        Self::SpecialOutpatientAtHospital,
        Self::SpecialOutpatientAtAgency,
        Self::AccountTransfer,
        Self::Query,
    ];

    /// The line of the catalogue.
    #[must_use]
    pub const fn line(self) -> (&'static str, Operation) {
        match self {
            Self::Outpatient => ("settlement.outpatient", Operation::Request),
            Self::Inpatient => ("settlement.inpatient", Operation::Request),
            Self::Pharmacy => ("settlement.pharmacy", Operation::Request),
            Self::OutpatientAdvice => ("settlement.outpatient", Operation::Advice),
            Self::InpatientAdvice => ("settlement.inpatient", Operation::Advice),
            Self::PharmacyAdvice => ("settlement.pharmacy", Operation::Advice),
            Self::SpecialDisease => ("filing.special_disease_out_of_area", Operation::Apply),
            Self::SpecialDiseaseHandling => {
                ("filing.special_disease_out_of_area", Operation::Handle)
            }
            Self::SpecialDiseaseBackfill => {
                ("filing.special_disease_out_of_area", Operation::Backfill)
            }
            Self::OutOfAreaAtHall | Self::OutOfAreaOnline => {
                ("filing.out_of_area", Operation::Apply)
            }
            Self::OutOfAreaHandling => ("filing.out_of_area", Operation::Handle),
            Self::OutOfAreaReview => ("filing.out_of_area", Operation::Review),
            Self::OutOfAreaBackfill => ("filing.out_of_area", Operation::Backfill),
            Self::Reimbursement | Self::SpecialCase => ("reimbursement.manual", Operation::Apply),
            Self::SpecialOutpatientAtHospital | Self::SpecialOutpatientAtAgency => {
                ("filing.outpatient_special_disease", Operation::Apply)
            }
            Self::AccountTransfer => ("service.account_transfer", Operation::Request),
            Self::Query => ("service.query", Operation::Query),
        }
    }

    /// Who may submit it; the schedule picks among them.
    #[must_use]
    pub const fn classes(self) -> &'static [Class] {
        match self {
            Self::Outpatient
            | Self::Inpatient
            | Self::OutpatientAdvice
            | Self::InpatientAdvice
            | Self::SpecialOutpatientAtHospital => &[Class::Hospital],
            Self::Pharmacy | Self::PharmacyAdvice => &[Class::Pharmacy],
            Self::SpecialDisease | Self::OutOfAreaAtHall | Self::SpecialCase => &[Class::Hall],
            Self::OutOfAreaOnline | Self::Query => &[Class::Portal],
            Self::SpecialDiseaseBackfill
            | Self::OutOfAreaBackfill
            | Self::Reimbursement
            | Self::AccountTransfer => &[Class::Hall, Class::Portal],
            Self::SpecialDiseaseHandling | Self::SpecialOutpatientAtAgency => {
                &[Class::DistrictMedicalAgency]
            }
            Self::OutOfAreaHandling | Self::OutOfAreaReview => {
                &[Class::DistrictMedicalAgency, Class::SocialInsuranceAgency]
            }
        }
    }

    /// The channel that a submitter of `class` names.
    #[must_use]
    pub const fn channel(class: Class) -> Channel {
        match class {
            Class::Hall => Channel::Hall,
            Class::Portal => Channel::Online,
            Class::Hospital
            | Class::Pharmacy
            | Class::DistrictMedicalAgency
            | Class::SocialInsuranceAgency
            | Class::Employer => Channel::System,
        }
    }

    /// What the notice says about it while the stop is on.
    #[must_use]
    pub const fn said(self) -> Said {
        let (clause, disposition) = match self {
            Self::Outpatient | Self::Inpatient | Self::Pharmacy => {
                ("(一)", Disposition::PassOrTicket)
            }
            Self::OutpatientAdvice | Self::InpatientAdvice | Self::PharmacyAdvice => {
                ("(一)", Disposition::Hold)
            }
            Self::SpecialDisease => ("(二)1", Disposition::HoldForRelease),
            Self::SpecialDiseaseHandling => ("(二)1", Disposition::Refuse),
            // Filing afterwards is for the time after the restart.
            Self::SpecialDiseaseBackfill | Self::OutOfAreaBackfill => ("(二)", Disposition::Refuse),
            Self::OutOfAreaAtHall | Self::OutOfAreaOnline => ("(二)2", Disposition::HoldForRelease),
            Self::OutOfAreaHandling | Self::OutOfAreaReview => ("(二)2", Disposition::Refuse),
            Self::Reimbursement => ("(三)1", Disposition::Refuse),
            Self::SpecialCase => ("(三)2", Disposition::PreAccept),
            Self::SpecialOutpatientAtHospital => ("(四)", Disposition::Pass),
            Self::SpecialOutpatientAtAgency => ("(四)", Disposition::Refuse),
            Self::AccountTransfer | Self::Query => ("(五)", Disposition::Refuse),
        };
        Said { clause, disposition }
    }

    /// Whether a submitter of it stands at a counter and waits for the core's answer.
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(self, Self::Outpatient | Self::Inpatient | Self::Pharmacy)
    }

    /// Whether it speaks of money.
    #[must_use]
    pub const fn has_amount(self) -> bool {
        matches!(
            self,
            Self::Outpatient
                | Self::Inpatient
                | Self::Pharmacy
                | Self::OutpatientAdvice
                | Self::InpatientAdvice
                | Self::PharmacyAdvice
                | Self::Reimbursement
                | Self::SpecialCase
                | Self::AccountTransfer
        )
    }

    /// Whether it belongs to a visit.
    #[must_use]
    pub const fn has_visit(self) -> bool {
        matches!(
            self,
            Self::Outpatient | Self::Inpatient | Self::OutpatientAdvice | Self::InpatientAdvice
        )
    }
}
