//! How OpenTelemetry's names become names of metrics, labels and units: Prometheus's rules, in its four strategies.

use limits::Limits;

/// What a metric's name depends on besides the name itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    /// A sum that only grows.
    Counter,
    Other,
}

/// The rules in force for a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Naming {
    pub(super) escapes: bool,
    suffixes: bool,
    /// Whether `key` stands before a label name that would begin with one underscore.
    keyed: bool,
    /// Whether several underscores in a row stay.
    underscores: bool,
}

impl Naming {
    pub(super) fn of(limits: &Limits) -> Naming {
        Naming {
            escapes: limits.otel_translation_strategy.escapes(),
            suffixes: limits.otel_translation_strategy.adds_suffixes(),
            keyed: limits.otel_label_name_underscore_sanitization,
            underscores: limits.otel_label_name_preserve_underscores,
        }
    }

    /// The name of a metric, or why it can have none.
    pub(super) fn metric(self, name: &str, unit: &str, kind: Kind) -> Result<String, String> {
        if !self.escapes {
            return Ok(if self.suffixes { suffixed(name, unit, kind) } else { name.to_string() });
        }
        let translated = if self.suffixes { normalized(name, unit, kind) } else { escaped(name) };
        let only_underscores = translated.bytes().all(|b| b == b'_');
        if translated.is_empty() || (translated != name && only_underscores) {
            return Err(format!("the metric name {name:?} has no character that a metric's name may have"));
        }
        Ok(translated)
    }

    /// The name of a label. `None` when nothing but underscores would be left of it.
    pub(super) fn label(self, name: &str) -> Option<String> {
        if name.is_empty() {
            return None;
        }
        let only_underscores = |name: &str| name.bytes().all(|b| b == b'_');
        if !self.escapes {
            return (!only_underscores(name)).then(|| name.to_string());
        }
        let mut label = if self.underscores { replaced(name) } else { collapsed(name) };
        if label.starts_with(|c: char| c.is_ascii_digit()) {
            label.insert_str(0, "key_");
        } else if self.keyed && label.starts_with('_') && !label.starts_with("__") {
            label.insert_str(0, "key");
        }
        (!only_underscores(&label)).then_some(label)
    }
}

/// The unit as it stands in a metric's description.
pub(super) fn unit(unit: &str) -> String {
    let (main, per) = unit_words(unit);
    let (main, per) = (clean(&main), clean(&per));
    let both = if main.is_empty() || per.is_empty() { main + &per } else { format!("{main}_{per}") };
    let both = both.strip_prefix('_').unwrap_or(&both);
    both.strip_suffix('_').unwrap_or(both).to_string()
}

/// Letters, digits and colons are what a metric's name is made of; underscores join them.
fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// Words joined by one underscore each, with unit and type among them.
fn normalized(name: &str, unit: &str, kind: Kind) -> String {
    let mut words: Vec<&str> = name.split(|c| !is_name_char(c)).filter(|word| !word.is_empty()).collect();
    let (main, per) = unit_words(unit);
    let (main, per) = (clean(&main), clean(&per));
    let per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    let adds_per = !per.is_empty() && !words.contains(&per);
    let adds_main = !words.contains(&main.as_str());
    let main = if adds_per { main.strip_suffix('_').unwrap_or(&main) } else { &main };
    if adds_main && !main.is_empty() {
        words.push(main);
    }
    if adds_per {
        words.push(per);
    }
    match kind {
        Kind::Counter => move_to_end(&mut words, "total"),
        Kind::Gauge if unit == "1" => move_to_end(&mut words, "ratio"),
        _ => {}
    }
    digit_safe(words.join("_"))
}

fn move_to_end<'a>(words: &mut Vec<&'a str>, word: &'a str) {
    words.retain(|other| *other != word);
    words.push(word);
}

/// What may not stand in a name becomes one underscore, at the ends nothing.
fn escaped(name: &str) -> String {
    let parts = name.split(|c| !is_name_char(c) && c != '_').filter(|part| !part.is_empty());
    digit_safe(parts.collect::<Vec<_>>().join("_"))
}

fn digit_safe(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The name as it is, with unit and type behind it, each at most once.
fn suffixed(name: &str, unit: &str, kind: Kind) -> String {
    let is_ratio = unit == "1" && kind == Kind::Gauge;
    let (main, per) = unit_words(unit);
    let mut name = name;
    if is_ratio {
        name = without_suffix(name, "ratio");
    }
    if kind == Kind::Counter {
        name = without_suffix(name, "total");
    }
    if !per.is_empty() {
        name = without_suffix(name, &per);
    }
    let main = if name.ends_with(&main) { "" } else { &main };
    let total = if kind == Kind::Counter { "total" } else { "" };
    let ratio = if is_ratio { "ratio" } else { "" };
    let words = [name, main, &per, total, ratio];
    words
        .into_iter()
        .enumerate()
        .filter(|(i, word)| *i == 0 || !word.is_empty())
        .map(|(_, word)| word)
        .collect::<Vec<_>>()
        .join("_")
}

/// Takes a suffix away and the one character before it, which is taken for the delimiter.
fn without_suffix<'a>(name: &'a str, suffix: &str) -> &'a str {
    match name.strip_suffix(suffix) {
        Some(rest) if rest.len() > 1 => {
            let mut chars = rest.chars();
            chars.next_back();
            chars.as_str()
        }
        _ => name,
    }
}

/// `By/s` is `bytes` and `per_second`; what stands in braces is no unit.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let (main, per) = (main.trim(), per.trim());
    let is_unit = |word: &str| !word.is_empty() && !word.contains(['{', '}']);
    let main = if is_unit(main) { main_unit(main).to_string() } else { String::new() };
    let per = if is_unit(per) { format!("per_{}", per_unit(per)) } else { String::new() };
    (main, per)
}

fn main_unit(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

fn per_unit(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

/// What may not stand in a name becomes an underscore, several in a row become one, at the beginning none.
fn clean(unit: &str) -> String {
    let mut cleaned = String::with_capacity(unit.len());
    for c in unit.chars() {
        if is_name_char(c) {
            cleaned.push(c);
        } else if !cleaned.is_empty() && !cleaned.ends_with('_') {
            cleaned.push('_');
        }
    }
    cleaned
}

fn replaced(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// As [`replaced`] with one underscore for several, but for names in double underscores, which keep those.
fn collapsed(name: &str) -> String {
    let reserved = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    let mut label = String::with_capacity(name.len());
    for c in reserved.unwrap_or(name).chars() {
        if c.is_ascii_alphanumeric() {
            label.push(c);
        } else if !label.ends_with('_') {
            label.push('_');
        }
    }
    if reserved.is_some() { format!("__{label}__") } else { label }
}

#[cfg(test)]
mod tests {
    use limits::TranslationStrategy::{self, *};

    use super::*;

    fn naming(strategy: TranslationStrategy) -> Naming {
        Naming::of(&Limits { otel_translation_strategy: strategy, ..Limits::default() })
    }

    #[test]
    fn metrics_are_named_by_strategy() {
        for (name, unit, kind, names) in [
            (
                "http.server.duration",
                "s",
                Kind::Other,
                [
                    "http_server_duration_seconds",
                    "http_server_duration",
                    "http.server.duration_seconds",
                    "http.server.duration",
                ],
            ),
            (
                "requests.total",
                "{request}",
                Kind::Counter,
                ["requests_total", "requests_total", "requests_total", "requests.total"],
            ),
            (
                "net.io",
                "By/s",
                Kind::Counter,
                ["net_io_bytes_per_second_total", "net_io", "net.io_bytes_per_second_total", "net.io"],
            ),
            ("cpu.use", "1", Kind::Gauge, ["cpu_use_ratio", "cpu_use", "cpu.use_ratio", "cpu.use"]),
            (
                "9..lives__left",
                "",
                Kind::Other,
                ["_9_lives_left", "_9_lives__left", "9..lives__left", "9..lives__left"],
            ),
            ("a:b.bytes", "By", Kind::Gauge, ["a:b_bytes", "a:b_bytes", "a:b.bytes", "a:b.bytes"]),
            ("x", "°C/°F", Kind::Gauge, ["x_C_per_F", "x", "x_°C_per_°F", "x"]),
        ] {
            let strategies = [
                UnderscoreEscapingWithSuffixes,
                UnderscoreEscapingWithoutSuffixes,
                NoUTF8EscapingWithSuffixes,
                NoTranslation,
            ];
            let seen = strategies.map(|strategy| naming(strategy).metric(name, unit, kind).unwrap());
            assert_eq!(seen, names, "{name} {unit}");
        }
        assert!(naming(UnderscoreEscapingWithSuffixes).metric("名前", "", Kind::Gauge).is_err());
        assert!(naming(UnderscoreEscapingWithoutSuffixes).metric("_", "", Kind::Gauge).is_ok());
    }

    #[test]
    fn labels_are_named_by_the_rules_in_force() {
        let default = naming(UnderscoreEscapingWithSuffixes);
        let collapsing = Naming { underscores: false, keyed: false, ..default };
        for (name, kept, collapsed) in [
            ("http.method", Some("http_method"), Some("http_method")),
            ("123", Some("key_123"), Some("key_123")),
            ("_private", Some("key_private"), Some("_private")),
            ("__x__", Some("__x__"), Some("__x__")),
            ("a..b", Some("a__b"), Some("a_b")),
            ("字符x", Some("__x"), Some("_x")),
            ("ようこそ", None, None),
            ("", None, None),
        ] {
            assert_eq!(default.label(name).as_deref(), kept, "{name}");
            assert_eq!(collapsing.label(name).as_deref(), collapsed, "{name}");
        }
        assert_eq!(naming(NoTranslation).label("a.b").as_deref(), Some("a.b"));
        assert_eq!(naming(NoTranslation).label("___"), None);
    }

    #[test]
    fn units_are_described_in_words() {
        for (given, words) in [("By/s", "bytes_per_second"), ("1", ""), ("{x}/h", "per_hour"), ("°C", "C")] {
            assert_eq!(unit(given), words);
        }
    }
}
