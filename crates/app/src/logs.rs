use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;
use runtime::Clock;
use server::{SetLevel, Text};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// Shows and changes the level of the logs while the process runs.
#[derive(Clone)]
pub(crate) struct LogLevel {
    handle: reload::Handle<EnvFilter, Registry>,
}

/// Starts the logs on standard error. `format` is `logfmt` or `json`.
pub(crate) fn start(level: &str, format: &str, clock: Clock) -> Result<LogLevel, String> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer: Box<dyn Layer<_> + Send + Sync> = match format {
        "json" => layer.json().flatten_event(true).boxed(),
        _ => layer.event_format(Logfmt { clock }).boxed(),
    };
    let layer = layer.with_filter(filter_fn(is_news));
    let registry = tracing_subscriber::registry().with(filter).with(layer);
    registry.try_init().map_err(|e| e.to_string())?;
    Ok(LogLevel { handle })
}

/// The client of the object store tells of each repetition of each request: hundreds of lines while a store is away.
/// What comes of them is logged where the error stops.
fn is_news(event: &Metadata<'_>) -> bool {
    let is_of_client = event.target().starts_with("object_store");
    !(is_of_client && *event.level() == Level::INFO)
}

/// Checks the directives of a level.
pub(crate) fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|e| format!("log level {level:?}: {e}"))
}

impl LogLevel {
    /// The directives in force.
    pub(crate) fn show(&self) -> Text {
        let handle = self.handle.clone();
        Arc::new(move || handle.with_current(ToString::to_string).unwrap_or_default())
    }

    /// Changes the directives.
    pub(crate) fn set(&self) -> SetLevel {
        let handle = self.handle.clone();
        Arc::new(move |level| handle.reload(filter(level)?).map_err(|e| e.to_string()))
    }
}

/// `ts=… level=… target=… msg="…" key=value …`
struct Logfmt {
    clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let meta = event.metadata();
        let level = meta.level().as_str().to_ascii_lowercase();
        let now = Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or_default();
        let mut fields = Pairs::default();
        event.record(&mut fields);
        write!(writer, "ts={now:.3} level={level} target={}{}", meta.target(), fields.message)?;
        writeln!(writer, "{}", fields.rest)
    }
}

#[derive(Default)]
struct Pairs {
    message: String,
    rest: String,
}

impl Pairs {
    fn push(&mut self, name: &str, value: &str) {
        let (name, out) = match name {
            "message" => ("msg", &mut self.message),
            name => (name, &mut self.rest),
        };
        let plain = !value.is_empty() && !value.contains([' ', '"', '=', '\n', '\\']);
        // Writing to a String cannot fail.
        let _written = if plain { write!(out, " {name}={value}") } else { write!(out, " {name}={value:?}") };
    }
}

impl Visit for Pairs {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.push(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_spaces_are_quoted() {
        let mut pairs = Pairs::default();
        pairs.push("message", "log replayed");
        pairs.push("segments", "3");
        pairs.push("error", "a=\"b\"");
        assert_eq!(pairs.message, " msg=\"log replayed\"");
        assert_eq!(pairs.rest, " segments=3 error=\"a=\\\"b\\\"\"");
    }

    #[test]
    fn a_level_that_is_no_level_is_refused() {
        assert!(filter("info,ingester=debug").is_ok());
        assert!(filter("ingester=loud").is_err());
    }
}
