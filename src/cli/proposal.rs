//! `holdover proposal`: orders that one person alone may not give, and the second person's word.

use super::Run;
use super::args::{Reason, Yes};
use super::exit::{Exit, Failure};
use super::out::{Table, plain};
use crate::admin::types::{Because, ProposalOut, ProposalSettled};
use crate::domain::time::Timestamp;
use serde_json::Value;

const PATH: &str = "/admin/v1/proposals";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List what waits for a second person
    List,
    /// Agree to what another person has proposed; it is carried out at once, in both names
    Approve {
        /// Its number
        id: u64,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        reason: Reason,
    },
    /// Turn a proposal down, or take your own back
    Reject {
        /// Its number
        id: u64,
        #[command(flatten)]
        reason: Reason,
    },
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::List => {
                let out: Vec<ProposalOut> = run.client.get(PATH).await?;
                run.out.table(&out, || {
                    let mut table =
                        Table::new(&["number", "deed", "order", "by", "reason", "lapses"]);
                    for one in &out {
                        table.row([
                            one.id.to_string(),
                            one.deed.to_string(),
                            brief(one, run),
                            plain(&one.by),
                            plain(&one.reason),
                            run.client.shown(one.lapses_at),
                        ]);
                    }
                    table
                });
                if let Some(first) = out.first() {
                    run.out.next(&format!("holdover proposal approve {} --reason TEXT", first.id));
                }
                Ok(Exit::Success)
            }
            Self::Approve { id, yes, reason } => {
                let waiting: Vec<ProposalOut> = run.client.get(PATH).await?;
                // Where there is none of that number the daemon says so, and what to do.
                if let Some(one) = waiting.iter().find(|one| one.id == id) {
                    let touches = format!("{}, proposed by {}", brief(one, run), plain(&one.by));
                    run.confirmed(yes.yes, &touches, "--yes")?;
                }
                settle(run, id, "approve", reason).await
            }
            Self::Reject { id, reason } => settle(run, id, "reject", reason).await,
        }
    }
}

/// What is ordered, in words: `window.restore of window move: cells every one, proof signed`.
fn brief(one: &ProposalOut, run: &Run) -> String {
    let words = |value: &Value| words(value, &|at| run.client.shown(at));
    let cells = one.object.strip_prefix("cells ").and_then(|json| serde_json::from_str(json).ok());
    let object = match cells {
        Some(cells) => format!("cells {}", words(&cells)),
        None => one.object.clone(),
    };
    let order =
        if one.order.is_null() { String::new() } else { format!(": {}", words(&one.order)) };
    plain(&format!("{} of {object}{order}", one.action))
}

/// A value in words, its instants as `show` shows them.
fn words(value: &Value, show: &dyn Fn(Timestamp) -> String) -> String {
    let words = |value: &Value| words(value, show);
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.parse().map_or_else(|_| text.clone(), show),
        Value::Array(list) => list.iter().map(&words).collect::<Vec<_>>().join(" "),
        // A choice of cells by nothing chooses all of them.
        Value::Object(fields) if fields.is_empty() => "every one".to_owned(),
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            let said =
                said.map(|(name, value)| format!("{} {}", name.replace('_', " "), words(value)));
            said.collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

async fn settle(run: &Run, id: u64, verb: &str, reason: Reason) -> Result<Exit, Failure> {
    let body = Because { reason: reason.reason };
    let settled: ProposalSettled =
        run.client.post(&format!("{PATH}/{id}/{verb}"), &body, None).await?;
    run.out.data(&settled, || match verb {
        "approve" => format!(
            "proposal {id} is carried out: {}\n",
            words(&settled.result, &|at| run.client.shown(at))
        ),
        _ => format!("proposal {id} is rejected, nothing was done\n"),
    });
    let head = &settled.audit_head;
    run.out.note(&format!("audit record {}, head {}", head.records, head.hash));
    run.out.next("holdover status");
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use crate::domain::time::Timestamp;
    use serde_json::{Value, json};

    fn words(value: &Value) -> String {
        super::words(value, &|at: Timestamp| at.rfc3339(chrono_tz::Asia::Shanghai))
    }

    #[test]
    fn an_order_is_told_in_words() {
        let order = json!({"cells": {}, "ready_from": null, "proof": "signed"});
        assert_eq!(words(&order), "cells every one, proof signed");
        let order = json!({"cells": {"upstream": ["agency", "portal"], "district": ["110105"]}});
        assert_eq!(words(&order), "cells district 110105, upstream agency portal");
        let order = json!({"ends_at": "2022-08-14T22:00:00Z", "day": "2022-08-14"});
        assert_eq!(words(&order), "day 2022-08-14, ends at 2022-08-15T06:00:00+08:00");
    }
}
