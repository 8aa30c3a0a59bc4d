//! The people and institutions of the demo, made from a seed: the same seed, the same city.
//!
//! Nobody here exists. Resident numbers come from the generator of `domain::identity`, so their
//! check digits are right and their serials are ours. What each of them does, and when, is
//! `schedule`'s business.

use crate::domain::cell::{Channel, Class, Institution};
use crate::domain::identity::synthetic_resident;
use crate::domain::ids::{District, InstitutionCode, InvalidId, Label};
use crate::domain::time::CivilDate;
use chrono::Days;

/// The sixteen districts by their codes of GB/T 2260.
pub const DISTRICTS: [u32; 16] = [
    110_101, 110_102, 110_105, 110_106, 110_107, 110_108, 110_109, 110_111, 110_112, 110_113,
    110_114, 110_115, 110_116, 110_117, 110_118, 110_119,
];

/// The districts of the two agencies: the first lets its filings go first.
pub const AGENCY_DISTRICTS: [u32; 2] = [110_101, 110_105];

/// The city itself, where the portal and the social-insurance agency sit.
pub const CITY: u32 = 110_100;

const HOSPITALS: usize = 30;
const PHARMACIES: usize = 20;

/// Somebody with a key of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitter {
    /// What its key says about it.
    pub institution: Institution,
    /// The channels that its key allows.
    pub channels: Vec<Channel>,
}

/// A person who is insured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The resident number, with a valid check digit.
    pub resident: String,
    /// Which group the person is insured in.
    pub population: &'static str,
}

/// Everybody who takes part.
#[derive(Debug, Clone)]
pub struct Population {
    /// The insured.
    pub people: Vec<Person>,
    /// The submitters: hospitals, pharmacies, halls, agencies, the portal.
    pub submitters: Vec<Submitter>,
}

/// The groups that manual reimbursement knows.
pub const GROUPS: [&str; 4] = ["employee", "maternity", "resident", "land_requisition"];

impl Population {
    /// The city of `seed` with `people` inhabitants.
    ///
    /// # Errors
    /// Never for the codes that are built here; the identities' parsers are asked all the same.
    pub fn new(seed: u64, people: usize) -> Result<Self, InvalidId> {
        let mut random = fastrand::Rng::with_seed(seed);
        let submitters = submitters()?;
        let people = (0..people).map(|n| person(n, &mut random)).collect();
        Ok(Self { people, submitters })
    }

    /// The places of everybody of `class`.
    #[must_use]
    pub fn of_class(&self, class: Class) -> Vec<usize> {
        (0..self.submitters.len())
            .filter(|&n| self.submitters[n].institution.class == class)
            .collect()
    }
}

fn person(number: usize, random: &mut fastrand::Rng) -> Person {
    let region = DISTRICTS[number % DISTRICTS.len()];
    let first = CivilDate::from_ymd_opt(1931, 1, 1).unwrap_or_default();
    let birth = first + Days::new(random.u64(0..30_000));
    // People of one district and one birthday would differ by their serials alone; numbering
    // them through keeps every resident number apart.
    let serial = u16::try_from(number / DISTRICTS.len() % 999).unwrap_or(0) + 1;
    Person {
        resident: synthetic_resident(region, birth, serial),
        population: GROUPS[random.usize(0..GROUPS.len())],
    }
}

fn submitters() -> Result<Vec<Submitter>, InvalidId> {
    let mut all = Vec::new();
    for n in 0..HOSPITALS {
        let district = DISTRICTS[n % DISTRICTS.len()];
        let mut hospital =
            submitter(&format!("H{district}{:05}", 100 + n), Class::Hospital, district)?;
        if n % 10 == 3 {
            hospital.institution.labels = vec!["tcm".parse::<Label>()?];
        }
        // Three hospitals let their patients leave on credit when a settlement cannot be made.
        if n % 10 == 7 {
            hospital.institution.credit = true;
            hospital.institution.labels = vec!["credit".parse::<Label>()?];
        }
        all.push(hospital);
    }
    for n in 0..PHARMACIES {
        let district = DISTRICTS[(n * 5 + 2) % DISTRICTS.len()];
        all.push(submitter(&format!("P{district}{:05}", 500 + n), Class::Pharmacy, district)?);
    }
    for district in AGENCY_DISTRICTS {
        all.push(submitter(&format!("HALL-{district}"), Class::Hall, district)?);
        let code = format!("AGENCY-{district}");
        all.push(submitter(&code, Class::DistrictMedicalAgency, district)?);
    }
    all.push(submitter(&format!("SOCIAL-{CITY}"), Class::SocialInsuranceAgency, CITY)?);
    all.push(submitter(&format!("PORTAL-{CITY}"), Class::Portal, CITY)?);
    Ok(all)
}

fn submitter(code: &str, class: Class, district: u32) -> Result<Submitter, InvalidId> {
    let channels = match class {
        Class::Hospital
        | Class::Pharmacy
        | Class::DistrictMedicalAgency
        | Class::SocialInsuranceAgency
        | Class::Employer => vec![Channel::System],
        Class::Hall => vec![Channel::Hall],
        Class::Portal => vec![Channel::Online, Channel::Mobile],
    };
    let institution = Institution {
        code: code.parse::<InstitutionCode>()?,
        class,
        district: district.to_string().parse::<District>()?,
        labels: Vec::new(),
        credit: false,
    };
    Ok(Submitter { institution, channels })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_makes_the_same_city_and_another_seed_another() {
        let (one, two) = (Population::new(7, 500).unwrap(), Population::new(7, 500).unwrap());
        assert_eq!(one.people, two.people);
        assert_ne!(one.people, Population::new(8, 500).unwrap().people);
    }

    #[test]
    fn every_person_and_every_institution_is_a_different_one() {
        let city = Population::new(1, 8_000).unwrap();
        let people: BTreeSet<&str> = city.people.iter().map(|p| p.resident.as_str()).collect();
        assert_eq!(people.len(), 8_000);
        let codes: BTreeSet<&str> =
            city.submitters.iter().map(|s| s.institution.code.as_str()).collect();
        assert_eq!(codes.len(), city.submitters.len());
    }

    #[test]
    fn resident_numbers_have_the_check_digit_of_the_standard() {
        const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
        for person in Population::new(3, 300).unwrap().people {
            let digits: Vec<u32> =
                person.resident.chars().take(17).map(|c| c.to_digit(10).unwrap()).collect();
            let sum: u32 = digits.iter().zip(WEIGHTS).map(|(d, w)| d * w).sum();
            let check = b"10X98765432"[usize::try_from(sum % 11).unwrap()] as char;
            assert_eq!(person.resident.chars().last(), Some(check));
        }
    }

    #[test]
    fn there_are_fifty_institutions_and_two_agencies_with_halls() {
        let city = Population::new(1, 1).unwrap();
        let medical = city.of_class(Class::Hospital).len() + city.of_class(Class::Pharmacy).len();
        assert_eq!(medical, 50);
        assert_eq!(city.of_class(Class::Hall).len(), 2);
        assert_eq!(city.of_class(Class::DistrictMedicalAgency).len(), 2);
        let districts: BTreeSet<&str> = city
            .submitters
            .iter()
            .filter(|s| s.institution.class == Class::Hospital)
            .map(|s| s.institution.district.as_str())
            .collect();
        assert_eq!(districts.len(), 16);
    }
}
