//! What operators and their machines see of the daemon: log lines and metrics.
//!
//! `metrics.rs` lists every metric, `events.rs` writes the log line of an event and its metrics
//! together, and this file sets the log up. No personal data passes through here: events take
//! identities, codes and counts.

pub mod events;
pub mod metrics;

use std::io::{self, Write};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

crate::domain::cell::words!(
    /// How log lines look.
    LogFormat, "log format", {
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Text = "text",
    }
);

/// The names of fields in log lines. Whoever logs uses these, so that lines can be searched.
pub const FIELDS: &[&str] = &[
    "ahead_ms",
    "attempt",
    "batch",
    "business",
    "by",
    "bytes",
    "clean",
    "clock",
    "clock_kind",
    "code",
    "count",
    "cut_bytes",
    "duration_ms",
    "epoch",
    "error",
    "fen",
    "file",
    "from",
    "gate",
    "good",
    "in_doubt",
    "institution",
    "key",
    "kind",
    "listener",
    "method",
    "offset",
    "operation",
    "outcome",
    "phase",
    "reason",
    "request_id",
    "retry_after_ms",
    "route",
    "seq",
    "share_ms",
    "state",
    "status",
    "subscriber",
    "task",
    "to",
    "transaction_id",
    "up_to",
    "upstream",
    "version",
    "why",
    "window",
];

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter makes no sense.
    #[error("the log filter cannot be read, write it like info,holdover=debug: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The log has ended.
    #[error("the log has ended")]
    Gone,
    /// There is one log a process.
    #[error("the log is set up already, set it up once")]
    Twice,
}

/// Sets the log of this process up: to standard error, in `format`, as `filter` says. A virtual
/// clock is named in every line. Call it once, first of all.
///
/// # Errors
/// See [`Error`].
pub fn init_logging(
    format: LogFormat,
    filter: &str,
    virtual_clock: bool,
) -> Result<LogFilter, Error> {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(filter)?);
    let subscriber = subscriber(format, filter, virtual_clock, io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::Twice)?;
    Ok(LogFilter(handle))
}

/// What decides which lines are written. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Writes what `filter` says from now on.
    ///
    /// # Errors
    /// See [`Error`]; the log stays as it is.
    pub fn set(&self, filter: &str) -> Result<(), Error> {
        let filter = EnvFilter::try_new(filter)?;
        self.0.reload(filter).map_err(|_| Error::Gone)
    }
}

fn subscriber<W>(
    format: LogFormat,
    filter: impl Layer<Registry> + Send + Sync,
    virtual_clock: bool,
    make: fn() -> W,
) -> impl Subscriber + Send + Sync
where
    W: Write + Send + 'static,
{
    let output = tracing_subscriber::fmt::layer().with_ansi(false);
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Json => Box::new(
            output
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_writer(move || Marked::json(make(), virtual_clock)),
        ),
        LogFormat::Text => {
            Box::new(output.with_writer(move || Marked::text(make(), virtual_clock)))
        }
    };
    tracing_subscriber::registry().with(filter).with(CountLines).with(lines)
}

/// Adds the field that names a virtual clock to each line. The formatter writes one line at a
/// time in one call.
struct Marked<W> {
    to: W,
    mark: Option<Mark>,
}

#[derive(Clone, Copy)]
enum Mark {
    Json,
    Text,
}

impl<W: Write> Marked<W> {
    fn json(to: W, virtual_clock: bool) -> Self {
        Self { to, mark: virtual_clock.then_some(Mark::Json) }
    }

    fn text(to: W, virtual_clock: bool) -> Self {
        Self { to, mark: virtual_clock.then_some(Mark::Text) }
    }
}

impl<W: Write> Write for Marked<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let marked = match (self.mark, line) {
            (Some(Mark::Json), [b'{', rest @ ..]) => {
                [br#"{"clock":"virtual","#.as_slice(), rest].concat()
            }
            (Some(Mark::Text), _) => {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                [line, b" clock=virtual\n".as_slice()].concat()
            }
            (Some(Mark::Json) | None, _) => line.to_vec(),
        };
        self.to.write_all(&marked)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Counts log lines by level, so that an alert can rest on them.
struct CountLines;

impl<S: Subscriber> Layer<S> for CountLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let place = match *event.metadata().level() {
            Level::ERROR => 0,
            Level::WARN => 1,
            Level::INFO => 2,
            Level::DEBUG => 3,
            Level::TRACE => 4,
        };
        if let Some(counter) = metrics::series().and_then(|series| series.logs(place)) {
            counter.increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct Kept;

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, virtual_clock: bool) -> String {
        let filter = EnvFilter::new("info");
        let subscriber = subscriber(format, filter, virtual_clock, || Kept);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(transaction_id = "txn_1", "a line");
            tracing::debug!("not this one");
        });
        let bytes = std::mem::take(&mut *WRITTEN.lock().unwrap());
        String::from_utf8(bytes).unwrap()
    }

    // One test, since there is one place to write to.
    #[test]
    fn a_virtual_clock_is_named_in_every_line_and_a_real_one_in_none() {
        let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, true)).unwrap();
        assert_eq!(line["clock"], "virtual");
        assert_eq!(line["transaction_id"], "txn_1");
        assert_eq!(line["message"], "a line");
        let line: serde_json::Value =
            serde_json::from_str(&logged(LogFormat::Json, false)).unwrap();
        assert_eq!(line.get("clock"), None);
        let text = logged(LogFormat::Text, true);
        assert!(text.ends_with("clock=virtual\n") && text.lines().count() == 1, "{text}");
        assert!(!logged(LogFormat::Text, false).contains("clock"));
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_refused() {
        assert!(matches!(
            init_logging(LogFormat::Text, "info,holdover=loud", false),
            Err(Error::Filter(_))
        ));
    }

    #[test]
    fn field_names_are_sorted_and_unique() {
        assert!(FIELDS.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
