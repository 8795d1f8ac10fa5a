//! Which form of exposition a scraper gets, and what becomes of names that are not plain.

use std::borrow::Cow;
use std::fmt::Write;

use axum::http::{HeaderMap, header};

const DELIMITED: &str = "application/vnd.google.protobuf";
const FAMILY: &str = "io.prometheus.client.MetricFamily";

/// A form of exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Lines.
    Text(Escaping),
    /// Messages, each behind its length.
    Delimited(Escaping),
}

/// How names are written that not every reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escaping {
    /// As they are.
    AllowUtf8,
    /// With underscores in the place of other characters.
    Underscores,
    /// With `_dot_` for a dot and two underscores for one and for others.
    Dots,
    /// With the numbers of characters, so that they can be had back.
    Values,
}

/// One form that a scraper takes.
struct Accepted<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f64,
}

impl Form {
    /// The form that the scraper likes best; text, if it likes none that there is.
    pub(super) fn negotiate(headers: &HeaderMap) -> Form {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut accepted: Vec<Accepted<'_>> = accept.split(',').map(Accepted::parse).collect();
        // Stable: of equals the first.
        accepted.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        let mut escaping = Escaping::Underscores;
        for one in &accepted {
            escaping = one.get("escaping").and_then(Escaping::of_name).unwrap_or(escaping);
            let is_version = |version: &str| one.get("version").is_none_or(|v| v == version);
            match one.media {
                DELIMITED if one.get("proto") == Some(FAMILY) && one.get("encoding") == Some("delimited") => {
                    return Form::Delimited(escaping);
                }
                "text/plain" if is_version("0.0.4") => return Form::Text(escaping),
                _ => {}
            }
        }
        Form::Text(escaping)
    }

    pub(super) fn takes_native_histograms(self) -> bool {
        matches!(self, Form::Delimited(_))
    }

    pub(super) fn content_type(self) -> String {
        match self {
            Form::Text(escaping) => {
                format!("text/plain; version=0.0.4; charset=utf-8; escaping={}", escaping.name())
            }
            Form::Delimited(escaping) => {
                format!("{DELIMITED}; proto={FAMILY}; encoding=delimited; escaping={}", escaping.name())
            }
        }
    }
}

impl Accepted<'_> {
    fn parse(text: &str) -> Accepted<'_> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
            .collect();
        let quality = parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, q)| q.parse().ok());
        Accepted { media, parameters, quality: quality.unwrap_or(1.0) }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }
}

impl Escaping {
    fn of_name(name: &str) -> Option<Escaping> {
        let all = [Escaping::AllowUtf8, Escaping::Underscores, Escaping::Dots, Escaping::Values];
        all.into_iter().find(|escaping| escaping.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Escaping::AllowUtf8 => "allow-utf-8",
            Escaping::Underscores => "underscores",
            Escaping::Dots => "dots",
            Escaping::Values => "values",
        }
    }

    /// A name as it goes out.
    pub(super) fn escape(self, name: &str) -> Cow<'_, str> {
        match self {
            Escaping::AllowUtf8 => Cow::Borrowed(name),
            Escaping::Underscores | Escaping::Values if is_plain(name) => Cow::Borrowed(name),
            Escaping::Underscores => Cow::Owned(
                name.chars().enumerate().map(|(at, c)| if is_plain_char(at, c) { c } else { '_' }).collect(),
            ),
            Escaping::Dots => Cow::Owned(escaped(name, |out, c| match c {
                '.' => out.push_str("_dot_"),
                _ => out.push_str("__"),
            })),
            Escaping::Values => {
                let by_number = |out: &mut String, c: char| {
                    // Writing to a String cannot fail.
                    let _written = write!(out, "_{:x}_", u32::from(c));
                };
                Cow::Owned(format!("U__{}", escaped(name, by_number)))
            }
        }
    }
}

/// The name with each underscore doubled, and `other` for each character that is not plain.
fn escaped(name: &str, other: impl Fn(&mut String, char)) -> String {
    let mut out = String::with_capacity(2 * name.len());
    for (at, c) in name.chars().enumerate() {
        match c {
            '_' => out.push_str("__"),
            c if is_plain_char(at, c) => out.push(c),
            c => other(&mut out, c),
        }
    }
    out
}

/// Whether a name needs no quotes.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().enumerate().all(|(at, c)| is_plain_char(at, c))
}

fn is_plain_char(at: usize, c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' || (at > 0 && c.is_ascii_digit())
}
