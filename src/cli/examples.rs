//! What can be typed, at the head of each noun's help. A test reads every line of it as the command
//! line does.

/// Of all, and what scripts rest on.
pub(super) const ALL: &str = "\
Examples:
  holdover status
  holdover window list
  holdover window extend stop-2022-08 --until 2022-08-15T12:00+08:00 --reason \"the core is late\"
  holdover window restore stop-2022-08 --upstream settlement --confirm stop-2022-08 --reason \"...\"
  holdover gate close --upstream agency --until 2022-08-15T09:00+08:00 --yes --reason \"...\"
  holdover transaction list --state in_doubt --json
  holdover ledger check

Confirmation:
  What lets transactions be sent, stops them or ends something for good says first what it would
  touch, and goes on only with --confirm NAME where it has a name of its own, else with --yes.
  What plans, puts off, asks or notes goes on at once.

Exit codes:
  0 success, 1 failure, 2 usage, 3 not found, 4 conflict, 5 not ready or a red check,
  6 refused by policy or for want of a scope, 7 the daemon cannot be reached";

pub(super) const STATUS: &str = "\
Examples:
  holdover status
  holdover status --watch 5
  holdover status --json

Exit code 0 when nothing needs a person, 5 when something does, 7 when the daemon cannot be reached.";

pub(super) const WINDOW: &str = "\
Examples:
  holdover window check
  holdover window declare move-2026-06 --file config/window.example.toml \\
      --reason \"the agency moves\"
  holdover window forecast move-2026-06
  holdover window diff move-2026-06";

pub(super) const GATE: &str = "\
Examples:
  holdover gate list
  holdover gate close --upstream agency --until 2026-06-12T09:00+08:00 --yes \\
      --reason \"it answers wrongly\"";

pub(super) const TRANSACTION: &str = "\
Examples:
  holdover transaction list --held --district 110105
  holdover transaction show txn_000000000007K3QD";

pub(super) const PROPOSAL: &str = "\
Examples:
  holdover proposal list
  holdover proposal approve 17 --yes --reason \"the centre confirmed it to me too\"";

pub(super) const TICKET: &str = "\
Example:
  holdover ticket list --institution H11010500001";

pub(super) const DEADLINE: &str = "\
Example:
  holdover deadline check --business reimbursement.manual --original 2026-06-13";

pub(super) const POLICY: &str = "\
Example:
  holdover policy explain reimbursement.manual/apply --class hall --channel hall \\
      --attribute population=employee --attribute fully_prepaid=true \\
      --at 2022-08-13T10:00+08:00";

pub(super) const LEDGER: &str = "\
Example:
  holdover ledger check";

pub(super) const DEAD_LETTER: &str = "\
Examples:
  holdover dead-letter list
  holdover dead-letter redrive txn_000000000007K3QD --yes \\
      --reason \"the address is mended\"";

pub(super) const IN_DOUBT: &str = "\
Examples:
  holdover in-doubt list
  holdover in-doubt resolve txn_000000000007K3QD --verdict applied --yes \\
      --reason \"it stands in the core's books\"";

pub(super) const KEY: &str = "\
Examples:
  holdover key create --operator \"Duty Operator\" --scope read --scope operate --scope approve
  holdover key create --institution H11010500001 --class hospital --district 110105 \\
      --channel system --scope submit --scope read";

pub(super) const AUDIT: &str = "\
Examples:
  holdover audit tail
  holdover audit verify data/audit.log";

pub(super) const DEMO: &str = "\
Examples:
  holdover demo
  holdover demo --restore-at 2022-08-16T10:00";

pub(super) const SERVE: &str = "\
Example:
  holdover serve --config holdover.toml";

pub(super) const SIMULATE_CORE: &str = "\
Example:
  holdover simulate-core --upstream agency --listen agency=127.0.0.1:9002 --log core.ndjson";

pub(super) const JOURNAL: &str = "\
Example:
  holdover journal verify data";

pub(super) const CALENDAR: &str = "\
Examples:
  holdover calendar show 2026
  holdover calendar check
  holdover calendar check --file config/calendars/cn.toml --today 2026-12-01";

pub(super) const CHECK_CONFIG: &str = "\
Examples:
  holdover check-config holdover.toml
  holdover check-config holdover.toml --difference";

pub(super) const COMPLETIONS: &str = "\
Example:
  holdover completions bash";

pub(super) const MAN: &str = "\
Examples:
  holdover man
  holdover man /usr/local/share/man/man1";
