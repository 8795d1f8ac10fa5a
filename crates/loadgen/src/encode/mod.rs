//! Entries in, the body of one request out: a module per protocol.
//!
//! What never changes of a series, its labels, is encoded once, when the fleet is made ([`Keys`]).

mod otlp;
mod otlp_json;
pub(crate) mod proto;
mod remote_write1;
mod remote_write2;
mod text;

use std::collections::HashMap;
use std::fmt::Write;

use model::Labels;

use crate::Protocol;
use crate::fleet::{Entry, Fleet};

/// What is written beside samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extras {
    /// Types and help texts.
    pub(crate) metadata: bool,
    /// Since when counters count, where the protocol leaves the choice.
    pub(crate) start_timestamps: bool,
}

/// Encodes requests; keeps its buffers.
pub(crate) enum Encoder {
    RemoteWrite1,
    RemoteWrite2(remote_write2::Symbols),
    Otlp,
    OtlpJson,
    Text,
}

impl Encoder {
    pub(crate) fn new(protocol: Protocol, fleet: &Fleet) -> Encoder {
        match protocol {
            Protocol::Rw1 | Protocol::Rw1Zstd => Encoder::RemoteWrite1,
            Protocol::Rw2 => Encoder::RemoteWrite2(remote_write2::Symbols::new(fleet.symbols.len())),
            Protocol::OtlpHttp | Protocol::OtlpGrpc => Encoder::Otlp,
            Protocol::OtlpJson => Encoder::OtlpJson,
            Protocol::Text => Encoder::Text,
        }
    }

    /// Appends the uncompressed request with these entries.
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>, fleet: &Fleet, entries: &[Entry<'_>], extras: Extras) {
        match self {
            Encoder::RemoteWrite1 => remote_write1::encode(out, entries),
            Encoder::RemoteWrite2(symbols) => remote_write2::encode(out, symbols, fleet, entries, extras),
            Encoder::Otlp => otlp::encode(out, fleet, entries, extras),
            Encoder::OtlpJson => otlp_json::encode(out, fleet, entries, extras),
            Encoder::Text => text::encode(out, fleet, entries, extras),
        }
    }

    /// Appends a request with nothing but metadata, where the protocol sends them so.
    pub(crate) fn encode_metadata(&self, out: &mut Vec<u8>, fleet: &Fleet) -> bool {
        let apart = matches!(self, Encoder::RemoteWrite1);
        if apart {
            remote_write1::encode_metadata(out, fleet.families());
        }
        apart
    }
}

/// Makes the keys of series: their labels as a protocol writes them.
#[derive(Debug)]
pub(crate) struct Keys {
    protocol: Protocol,
    symbols: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Keys {
    pub(crate) fn new(protocol: Protocol) -> Keys {
        Keys { protocol, symbols: Vec::new(), numbers: HashMap::new() }
    }

    /// Strings by their number in keys of remote write 2.0.
    pub(crate) fn into_symbols(self) -> Vec<String> {
        self.symbols
    }

    /// The key of a series of floats. The first label is the name.
    pub(crate) fn float(&mut self, labels: &[(&str, &str)]) -> Vec<u8> {
        self.key(labels, otlp::NUMBER_ATTRIBUTES)
    }

    /// The key of a series of native histograms.
    pub(crate) fn native(&mut self, labels: &[(&str, &str)]) -> Vec<u8> {
        self.key(labels, otlp::EXPONENTIAL_ATTRIBUTES)
    }

    /// The key that a classic histogram has as a whole.
    pub(crate) fn classic(&mut self, labels: &[(&str, &str)]) -> Vec<u8> {
        self.key(labels, otlp::HISTOGRAM_ATTRIBUTES)
    }

    fn key(&mut self, labels: &[(&str, &str)], otlp_field: u32) -> Vec<u8> {
        match self.protocol {
            Protocol::Rw1 | Protocol::Rw1Zstd => Labels::from_pairs(labels.iter().copied()).run().to_vec(),
            Protocol::Rw2 => {
                let mut labels = labels.to_vec();
                labels.sort_unstable();
                let strings = labels.iter().flat_map(|(name, value)| [*name, *value]);
                strings.flat_map(|s| self.number(s).to_le_bytes()).collect()
            }
            Protocol::OtlpHttp | Protocol::OtlpGrpc => {
                let mut key = Vec::new();
                for (name, value) in attributes(labels) {
                    otlp::attribute(&mut key, otlp_field, name, value);
                }
                key
            }
            Protocol::OtlpJson => {
                let mut key = String::new();
                for (name, value) in attributes(labels) {
                    otlp_json::attribute(&mut key, name, value);
                }
                key.into_bytes()
            }
            Protocol::Text => text::series(labels),
        }
    }

    fn number(&mut self, string: &str) -> u32 {
        if let Some(number) = self.numbers.get(string) {
            return *number;
        }
        let number = self.symbols.len() as u32;
        self.symbols.push(string.to_string());
        self.numbers.insert(string.to_string(), number);
        number
    }
}

/// Labels that OTLP has on its data points: the others are the name and the resource.
fn attributes<'a>(labels: &'a [(&str, &str)]) -> impl Iterator<Item = (&'a str, &'a str)> {
    labels.iter().copied().filter(|(name, _)| !["__name__", "job", "instance"].contains(name))
}

/// A trace id of sixteen bytes, in hex.
fn trace_id(trace: u64) -> String {
    format!("{trace:016x}{:016x}", trace.rotate_left(32))
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _written = std::io::Write::write_fmt(out, text);
}

/// A string as JSON and the text exposition both write it.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
    let _written = out.write_char('"');
}

#[cfg(test)]
mod tests;
