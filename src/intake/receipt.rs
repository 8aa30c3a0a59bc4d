//! The receipt: what a submitter is told about a transaction, built from its accept record.
//!
//! It is the same to the byte for every repeat and after every restart, because nothing but the
//! record, its place and the configured zone goes into it. What became of the transaction later
//! is not in it: that is a resource of its own.

use crate::domain::cell::{Channel, Operation, words};
use crate::domain::deadline::Extension;
use crate::domain::ids::{Business, InstitutionCode, TicketId, TransactionId, WindowId};
use crate::domain::money::Money;
use crate::domain::policy::{Advice, Disposition, RowRef};
use crate::domain::term::Deadline;
use crate::domain::time::Zone;
use crate::engine::change::{Accepted, Told, TurnedAway};
use crate::web::problem::{DeadlineMention, Message, PolicyMention};
use chrono::{Datelike, NaiveDateTime, Timelike};
use serde::Serialize;

words!(
    /// Whether the fund has settled its share.
    FundSettled, "fund settlement", {
        /// It has.
        True = "true",
        /// It surely has not.
        False = "false",
        /// Nobody can say yet.
        Unknown = "unknown",
    }
);

words!(
    /// Which invoice the counter issues.
    Invoice, "invoice", {
        /// None, or as usual.
        None = "none",
        /// Over the patient's share.
        PatientShare = "patient_share",
        /// Over the full amount, paid by the person.
        SelfPay = "self_pay",
        /// None yet: nobody knows what was settled.
        NotYet = "not_yet",
    }
);

/// The invoice that goes with an advice.
pub(super) fn invoice(advice: Advice) -> Invoice {
    match advice {
        Advice::ChargeSplit => Invoice::PatientShare,
        Advice::ChargeFull => Invoice::SelfPay,
        Advice::DoNotFinalise | Advice::Credit => Invoice::NotYet,
        Advice::None
        | Advice::GoElsewhere
        | Advice::ComeBack
        | Advice::KeepOriginals
        | Advice::MaterialsTaken => Invoice::None,
    }
}

/// The ticket that a settlement becomes when it surely did not happen.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct TicketMention {
    /// Its number.
    #[schema(value_type = String)]
    id: TicketId,
    /// Until when the settlement is tried; from then on the ticket stands.
    tried_until: String,
}

/// Where and when a ticket is made good.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Resettle<'a> {
    /// The institution where it is done.
    #[serde(rename = "where")]
    #[schema(value_type = String)]
    place: &'a InstitutionCode,
    /// From when on; not there while nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// Until when; not there where no notice sets an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

/// A receipt.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Receipt<'a> {
    /// The transaction.
    #[schema(value_type = String)]
    id: TransactionId,
    /// The same for paper and the telephone: its digits in groups of four. It is taken wherever the
    /// id is.
    number: String,
    /// When it was accepted.
    accepted_at: String,
    /// The business.
    #[schema(value_type = String)]
    business: &'a Business,
    /// What is done to it.
    #[schema(value_type = String)]
    operation: Operation,
    /// The channel.
    #[schema(value_type = String)]
    channel: Channel,
    /// The amount.
    #[schema(value_type = String)]
    amount: Money,
    /// What is done with it.
    #[schema(value_type = String)]
    disposition: Disposition,
    /// Whether the fund had settled when this was written.
    #[schema(value_type = String)]
    fund_settled: FundSettled,
    /// What the counter does.
    #[schema(value_type = String)]
    counter_action: Advice,
    /// Which invoice the counter issues.
    #[schema(value_type = String)]
    invoice: Invoice,
    /// The ticket that it may become.
    ticket: Option<TicketMention>,
    /// Where and when such a ticket is made good.
    resettle: Option<Resettle<'a>>,
    /// What to bring or keep.
    bring: &'a [String],
    /// Where to go instead.
    alternative: Option<&'a str>,
    /// Whether it can be sent later only with a credential.
    needs_credential: bool,
    /// The row of the notice that decided.
    policy: Option<PolicyMention>,
    /// When the stop was planned to be over.
    resume_at: Option<String>,
    /// The window, over by then, that had stopped this business when it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    incurred_in: Option<&'a WindowId>,
    /// The person's deadline as it held.
    deadline: Option<DeadlineMention>,
    /// The fingerprint of the content.
    fingerprint: String,
    /// One plain sentence.
    message: Message,
}

impl<'a> Receipt<'a> {
    /// The receipt of the transaction `id`, which was accepted as `record` says.
    pub(super) fn of(id: TransactionId, record: &'a Accepted, zone: Zone) -> Self {
        let told = &record.told;
        let ticket = record
            .ticket_after
            .map(|until| TicketMention { id: id.into(), tried_until: until.rfc3339(zone) });
        let resettle = ticket.as_ref().map(|_| Resettle {
            place: &record.institution,
            from: told.resume_at.map(|at| at.rfc3339(zone)),
            until: None,
        });
        Self {
            id,
            number: id.spoken(),
            accepted_at: record.at.rfc3339(zone),
            business: &record.cell.business,
            operation: record.cell.operation,
            channel: record.cell.channel,
            amount: record.amount,
            disposition: told.disposition,
            fund_settled: fund_settled(told, record.amount),
            counter_action: told.advice,
            invoice: invoice(told.advice),
            ticket,
            resettle,
            bring: &told.bring,
            alternative: told.alternative.as_deref(),
            needs_credential: record.needs_credential,
            policy: told.row.as_ref().map(PolicyMention::from),
            resume_at: told.resume_at.map(|at| at.rfc3339(zone)),
            incurred_in: told.incurred_in.as_ref(),
            deadline: deadline(record),
            fingerprint: format!("{:016x}", record.fingerprint.0),
            message: sentence(told, zone),
        }
    }
}

impl Receipt<'_> {
    pub(super) fn fund_settled(&self) -> FundSettled {
        self.fund_settled
    }

    pub(super) fn counter_action(&self) -> Advice {
        self.counter_action
    }
}

fn fund_settled(told: &Told, amount: Money) -> FundSettled {
    if told.disposition.passes() && !told.kept && amount != Money::ZERO {
        return FundSettled::Unknown;
    }
    FundSettled::False
}

fn deadline(record: &Accepted) -> Option<DeadlineMention> {
    match &record.told.deadline {
        Some(moved) => {
            let mut mention = DeadlineMention::moved(moved, record.told.deadline_final);
            // The last move may begin at a date that an earlier stop had moved already.
            mention.original = record.deadline.map_or(mention.original, Deadline::Day);
            Some(mention)
        }
        None => record.deadline.map(|day| DeadlineMention {
            original: day.into(),
            effective: day.into(),
            is_final: record.told.deadline_final,
            rule: None,
            clause: None,
            window: None,
        }),
    }
}

fn sentence(told: &Told, zone: Zone) -> Message {
    let closed = told.row.as_ref().is_some_and(RowRef::is_of_hours);
    let (zh_first, en_first) = match told.disposition {
        Disposition::Hold if closed => (
            "已受理并保存，服务时间开始后自动办理",
            "Accepted and kept; it is sent when service hours begin",
        ),
        Disposition::Refuse if closed => {
            ("现不在该业务的服务时间内", "This business is outside its service hours")
        }
        Disposition::Pass | Disposition::PassOrHold if told.kept => (
            "已受理并保存，待该部分系统恢复后发送",
            "Accepted and kept; it is sent when that part of the core is back",
        ),
        Disposition::PassOrTicket if told.kept => (
            "已受理，该部分系统暂不可用，未能结算；凭本回执号日后补办结算",
            "Accepted, not settled, because that part of the core is away; settle it later with \
             this number",
        ),
        Disposition::Pass => ("已受理，正在发送", "Accepted and being sent"),
        Disposition::PassOrTicket => (
            "已受理，正在发送；若未能结算，凭本回执号日后补办结算",
            "Accepted and being sent; if it cannot be settled, settle it later with this number",
        ),
        Disposition::PassOrHold => (
            "已受理，正在发送；若暂时发不出，将保存后补发",
            "Accepted and being sent; if that fails it is kept and sent later",
        ),
        Disposition::Hold => {
            ("已受理并保存，恢复后自动办理", "Accepted and kept; it is sent after the restart")
        }
        Disposition::HoldForRelease => (
            "已受理并保存，恢复后由经办机构集中办理",
            "Accepted and kept; the agency handles it after the restart",
        ),
        Disposition::PreAccept => (
            "已预收材料，尚未审核，恢复后办理并告知结果",
            "Taken in, not reviewed; it is handled after the restart and the result will be told",
        ),
        Disposition::Refuse => ("该业务暂停办理", "This business is suspended"),
    };
    let (mut zh, mut en) = (String::with_capacity(256), String::with_capacity(256));
    zh.push_str(zh_first);
    en.push_str(en_first);
    if let Some((advice_zh, advice_en)) = advice_words(told.advice, closed) {
        zh.extend(["；", advice_zh]);
        en.extend(["; ", advice_en]);
    }
    if let Some(at) = told.resume_at {
        let (zh_when, en_when, zh_what) = match closed {
            true => ("；", "; it opens on ", "开始办理"),
            false => ("；预计", "; the restart is planned for ", "恢复"),
        };
        zh.push_str(zh_when);
        en.push_str(en_when);
        say_when(at.civil(zone), &mut zh, &mut en);
        zh.push_str(zh_what);
    } else if closed {
        zh.push_str("；开始办理时间尚未确定");
        en.push_str("; when it opens is not known yet");
    }
    if let Some(Extension { from, to, .. }) = &told.deadline {
        zh.push_str(&format!("；期限由{from}顺延至{to}"));
        en.push_str(&format!("; the deadline of {from} is extended to {to}"));
    }
    zh.push('。');
    en.push('.');
    Message { zh, en }
}

/// An instant, as people say it. Digits by hand: this is in every receipt, and
/// a format string read at run time costs more than the rest of the sentence.
pub(super) fn say_when(at: NaiveDateTime, zh: &mut String, en: &mut String) {
    let two = |n: u32| [n / 10 % 10, n % 10].map(|d| char::from_digit(d, 10).unwrap_or('0'));
    let year = at.year().to_string();
    let (month, day) = (two(at.month()), two(at.day()));
    let plain = |digits: [char; 2]| digits.into_iter().skip(usize::from(digits[0] == '0'));
    zh.extend([&year, "年"]);
    zh.extend(plain(month).chain(['月']).chain(plain(day)).chain(['日']));
    en.push_str(&year);
    en.extend(['-'].into_iter().chain(month).chain(['-']).chain(day).chain([' ']));
    for text in [zh, en] {
        text.extend(two(at.hour()).into_iter().chain([':']).chain(two(at.minute())));
    }
}

fn advice_words(advice: Advice, closed: bool) -> Option<(&'static str, &'static str)> {
    match advice {
        Advice::None => None,
        Advice::ChargeSplit => Some(("只收个人负担部分", "charge the patient's share only")),
        Advice::ChargeFull => Some((
            "先收取全额费用并开具自费票据",
            "charge the full amount and issue a self-pay invoice",
        )),
        Advice::DoNotFinalise => {
            Some(("结算结果未知，请勿办结", "the result is unknown, do not finalise"))
        }
        Advice::Credit => Some(("可先挂账离院", "the patient may leave on credit")),
        Advice::GoElsewhere => Some(("可到其他机构办理", "another institution can do it now")),
        Advice::ComeBack if closed => {
            Some(("请在服务时间内再来办理", "come back in service hours"))
        }
        Advice::ComeBack => Some(("请在恢复后再来办理", "come back after the restart")),
        Advice::KeepOriginals => Some(("请保留材料原件", "keep the originals")),
        Advice::MaterialsTaken => Some(("材料已留存", "the materials were taken in")),
    }
}

/// What a person is told who was turned away.
pub(super) fn refusal_sentence(
    number: &str,
    record: &TurnedAway,
    advice: Advice,
    zone: Zone,
) -> Message {
    let told = Told {
        disposition: Disposition::Refuse,
        advice,
        row: record.row.clone(),
        resume_at: record.resume_at,
        alternative: None,
        bring: Vec::new(),
        deadline: record.deadline.clone(),
        deadline_final: false,
        kept: false,
        incurred_in: None,
    };
    let Message { zh, en } = sentence(&told, zone);
    let zh = format!("{}；编号{number}。", zh.trim_end_matches('。'));
    Message { zh, en: format!("{}; number {number}.", en.trim_end_matches('.')) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(disposition: Disposition, advice: Advice) -> Told {
        Told {
            disposition,
            advice,
            row: None,
            resume_at: Some("2022-08-14T22:05:00Z".parse().unwrap()),
            alternative: None,
            bring: Vec::new(),
            deadline: None,
            deadline_final: false,
            kept: false,
            incurred_in: None,
        }
    }

    #[test]
    fn the_sentence_names_the_restart_in_the_zone_and_both_languages() {
        let zone = chrono_tz::Asia::Shanghai;
        let Message { zh, en } = sentence(&told(Disposition::Hold, Advice::None), zone);
        assert_eq!(zh, "已受理并保存，恢复后自动办理；预计2022年8月15日06:05恢复。");
        assert_eq!(
            en,
            "Accepted and kept; it is sent after the restart; \
             the restart is planned for 2022-08-15 06:05."
        );
    }

    #[test]
    fn outside_service_hours_nobody_is_told_of_a_restart() {
        let row =
            RowRef { window: "halls".parse().unwrap(), version: 0, row: 0, clause: "3".to_owned() };
        let say = |disposition, advice| {
            let told = Told { row: Some(row.clone()), ..told(disposition, advice) };
            let Message { zh, en } = sentence(&told, chrono_tz::Asia::Shanghai);
            (zh, en)
        };
        let (zh, en) = say(Disposition::Hold, Advice::None);
        assert_eq!(zh, "已受理并保存，服务时间开始后自动办理；2022年8月15日06:05开始办理。");
        let expected = "Accepted and kept; it is sent when service hours begin; it opens on \
                        2022-08-15 06:05.";
        assert_eq!(en, expected);
        let (zh, en) = say(Disposition::Refuse, Advice::ComeBack);
        assert!(zh.contains("服务时间") && !zh.contains("恢复"), "{zh}");
        assert!(en.contains("come back in service hours") && !en.contains("restart"), "{en}");
        let row = Some(row.clone());
        let unknown = Told { row, resume_at: None, ..told(Disposition::Hold, Advice::None) };
        let Message { zh, en } = sentence(&unknown, chrono_tz::UTC);
        assert_eq!(zh, "已受理并保存，服务时间开始后自动办理；开始办理时间尚未确定。");
        assert!(en.ends_with("when service hours begin; when it opens is not known yet."), "{en}");
    }

    #[test]
    fn what_is_kept_because_its_gate_is_not_open_is_never_told_as_being_sent() {
        for &disposition in Disposition::ALL {
            let kept = Told { kept: true, ..told(disposition, Advice::None) };
            let Message { zh, en } = sentence(&kept, chrono_tz::UTC);
            assert!(!zh.contains("正在发送") && !en.contains("being sent"), "{zh} {en}");
        }
    }

    #[test]
    fn every_disposition_and_advice_has_a_sentence_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for &disposition in Disposition::ALL {
            for &advice in Advice::ALL {
                let Message { zh, en } = sentence(&told(disposition, advice), chrono_tz::UTC);
                assert!(zh.ends_with('。') && en.ends_with('.'));
                assert!(seen.insert(zh) && seen.insert(en));
            }
        }
    }

    #[test]
    fn nothing_that_may_still_happen_counts_as_settled() {
        let yuan = Money::from_fen(100).unwrap();
        for &disposition in Disposition::ALL {
            let mut told = told(disposition, Advice::None);
            let settled = fund_settled(&told, yuan);
            let expected =
                if disposition.passes() { FundSettled::Unknown } else { FundSettled::False };
            assert_eq!(settled, expected, "{disposition}");
            assert_eq!(fund_settled(&told, Money::ZERO), FundSettled::False);
            told.kept = true;
            assert_eq!(fund_settled(&told, yuan), FundSettled::False, "{disposition}: not sent");
        }
    }
}
