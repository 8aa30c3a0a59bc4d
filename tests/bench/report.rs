//! The table: what was measured, beside what, with the target of each ratio.

use serde::Serialize;

/// In which direction a ratio is good.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// Met at or above.
    AtLeast(f64),
    /// Met at or below.
    AtMost(f64),
}

impl Target {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(limit) => format!("≥ {}", short(limit)),
            Self::AtMost(limit) => format!("≤ {}", short(limit)),
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// Its letter.
    pub(crate) row: &'static str,
    /// What is measured.
    pub(crate) what: &'static str,
    /// The measured quantities in words, with their units.
    pub(crate) measured: Option<String>,
    /// The number that is held against the targets.
    pub(crate) value: Option<f64>,
    /// The unit of that number; empty for a ratio.
    pub(crate) unit: &'static str,
    /// The first target.
    pub(crate) first: Option<Target>,
    /// The later target.
    pub(crate) then: Option<Target>,
    /// Whether the first target is met.
    pub(crate) first_met: Option<bool>,
    /// Why there is no number.
    pub(crate) not_measured: Option<String>,
}

impl Row {
    /// A line with its targets and no number yet.
    pub(crate) fn new(
        row: &'static str,
        what: &'static str,
        unit: &'static str,
        targets: Option<(Target, Target)>,
    ) -> Self {
        Self {
            row,
            what,
            measured: None,
            value: None,
            unit,
            first: targets.map(|t| t.0),
            then: targets.map(|t| t.1),
            first_met: None,
            not_measured: None,
        }
    }

    /// With the outcome of its measurement.
    pub(crate) fn with(mut self, outcome: anyhow::Result<(f64, String)>) -> Self {
        match outcome {
            Ok((value, measured)) => {
                self.first_met = self.first.map(|t| t.met(value));
                self.value = Some(value);
                self.measured = Some(measured);
            }
            Err(error) => self.not_measured = Some(format!("{error:#}")),
        }
        self
    }
}

/// A number with as many digits as it deserves.
pub(crate) fn short(value: f64) -> String {
    if value >= 100.0 {
        let digits = format!("{value:.0}");
        let mut text = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        return text;
    }
    let text = if value >= 10.0 { format!("{value:.1}") } else { format!("{value:.2}") };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The table as Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text =
        String::from("| | What | Result | First | Then | Measured |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let unit = if row.unit.is_empty() { String::new() } else { format!(" {}", row.unit) };
        let result = row.value.map_or_else(|| "–".to_owned(), |v| format!("{}{unit}", short(v)));
        let mark = match row.first_met {
            Some(true) => " ✓",
            Some(false) => " ✗",
            None => "",
        };
        let target = |t: Option<Target>| t.map_or_else(|| "–".to_owned(), Target::text);
        let said = match (&row.measured, &row.not_measured) {
            (Some(measured), _) => measured.clone(),
            (None, Some(why)) => format!("not measured: {why}"),
            (None, None) => String::new(),
        };
        text.push_str(&format!(
            "| {} | {} | {result}{mark} | {} | {} | {said} |\n",
            row.row,
            row.what,
            target(row.first),
            target(row.then)
        ));
    }
    text
}
