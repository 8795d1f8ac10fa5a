//! Writes the answers of Prometheus's API (HTTP API, "Format overview" and "Expression query result formats").

use std::fmt::Write;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use model::{Histogram, Labels, MatrixSeries, SampleValue, Value, VectorSample};
use wire::QueryStats;

use crate::frontend::Work;
use crate::numbers::{write_float, write_timestamp};

/// The header of every answer.
pub(crate) const CONTENT_TYPE: [(HeaderName, HeaderValue); 1] =
    [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];

/// Most warnings and most infos in one answer.
const MAX_ANNOTATIONS: usize = 10;

/// JSON under construction; commas look after themselves.
#[derive(Debug, Default)]
pub(crate) struct Json {
    text: String,
}

impl Json {
    /// What has been written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn object(&mut self, fill: impl FnOnce(&mut Json)) -> &mut Json {
        self.nested('{', '}', fill)
    }

    pub(crate) fn array(&mut self, fill: impl FnOnce(&mut Json)) -> &mut Json {
        self.nested('[', ']', fill)
    }

    pub(crate) fn key(&mut self, key: &str) -> &mut Json {
        self.string(key);
        self.text.push(':');
        self
    }

    pub(crate) fn string(&mut self, value: &str) -> &mut Json {
        self.comma();
        self.quoted(value);
        self
    }

    pub(crate) fn number(&mut self, value: impl std::fmt::Display) -> &mut Json {
        self.comma();
        // Writing to a String cannot fail.
        let _written = write!(self.text, "{value}");
        self
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Json {
        self.number(value)
    }

    pub(crate) fn null(&mut self) -> &mut Json {
        self.number("null")
    }

    /// A timestamp: seconds with three decimals unless whole.
    pub(crate) fn timestamp(&mut self, ms: i64) -> &mut Json {
        self.comma();
        write_timestamp(&mut self.text, ms);
        self
    }

    /// A sample's value: a number in quotes.
    pub(crate) fn value(&mut self, value: f64) -> &mut Json {
        self.comma();
        self.text.push('"');
        write_float(&mut self.text, value);
        self.text.push('"');
        self
    }

    /// A number as it is, not in quotes; it is finite.
    pub(crate) fn float(&mut self, value: f64) -> &mut Json {
        self.comma();
        write_float(&mut self.text, value);
        self
    }

    pub(crate) fn labels(&mut self, labels: &Labels) -> &mut Json {
        self.object(|json| {
            for (name, value) in labels.iter() {
                json.key(name).string(value);
            }
        })
    }

    pub(crate) fn strings<S: AsRef<str>>(&mut self, values: &[S]) -> &mut Json {
        self.array(|json| {
            for value in values {
                json.string(value.as_ref());
            }
        })
    }

    fn nested(&mut self, open: char, close: char, fill: impl FnOnce(&mut Json)) -> &mut Json {
        self.comma();
        self.text.push(open);
        fill(self);
        self.text.push(close);
        self
    }

    fn comma(&mut self) {
        if !matches!(self.text.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.text.push(',');
        }
    }

    fn quoted(&mut self, value: &str) {
        self.text.push('"');
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if value.bytes().all(is_plain) {
            self.text.push_str(value);
            self.text.push('"');
            return;
        }
        for c in value.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                c if c < ' ' => {
                    let _written = write!(self.text, "\\u{:04x}", c as u32);
                }
                // JSON is UTF-8; `label_replace` can make a value that is not.
                c if promql::is_invalid_byte(c) => self.text.push(char::REPLACEMENT_CHARACTER),
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

/// An object on its own.
pub(crate) fn object(fill: impl FnOnce(&mut Json)) -> String {
    let mut json = Json::default();
    json.object(fill);
    json.text
}

/// A successful answer with these data.
pub(crate) fn success(data: impl FnOnce(&mut Json)) -> Response {
    success_with(data, &[], &[])
}

/// A successful answer with these data and what there is to say about them.
pub(crate) fn success_with(data: impl FnOnce(&mut Json), warnings: &[String], infos: &[String]) -> Response {
    let mut json = Json::default();
    json.object(|json| {
        json.key("status").string("success");
        data(json.key("data"));
        annotations(json, "warnings", warnings);
        annotations(json, "infos", infos);
    });
    (CONTENT_TYPE, json.text).into_response()
}

/// An error's body.
pub(crate) fn error(error_type: &str, message: &str) -> String {
    let mut json = Json::default();
    json.object(|json| {
        json.key("status").string("error");
        json.key("errorType").string(error_type);
        json.key("error").string(message);
    });
    json.text
}

/// The data of a query's answer.
pub(crate) fn query_data(json: &mut Json, value: &Value, stats: Option<(&QueryStats, Work)>) {
    json.object(|json| {
        match value {
            Value::Scalar { timestamp, value } => {
                json.key("resultType").string("scalar");
                json.key("result").array(|json| {
                    json.timestamp(*timestamp).value(*value);
                });
            }
            Value::String { timestamp, value } => {
                json.key("resultType").string("string");
                json.key("result").array(|json| {
                    json.timestamp(*timestamp).string(value);
                });
            }
            Value::Vector(samples) => {
                json.key("resultType").string("vector");
                json.key("result")
                    .array(|json| samples.iter().for_each(|sample| vector_sample(json, sample)));
            }
            Value::Matrix(series) => {
                json.key("resultType").string("matrix");
                json.key("result").array(|json| series.iter().for_each(|series| matrix_series(json, series)));
            }
        }
        if let Some((stats, work)) = stats {
            write_stats(json.key("stats"), stats, work);
        }
    });
}

fn annotations(json: &mut Json, key: &str, messages: &[String]) {
    let (shown, rest) = messages.split_at(messages.len().min(MAX_ANNOTATIONS));
    if shown.is_empty() {
        return;
    }
    json.key(key).array(|json| {
        for message in shown {
            json.string(message);
        }
        if !rest.is_empty() {
            json.string(&format!("{} more {} annotations omitted", rest.len(), key.trim_end_matches('s')));
        }
    });
}

fn vector_sample(json: &mut Json, sample: &VectorSample) {
    json.object(|json| {
        json.key("metric").labels(&sample.labels);
        match &sample.value {
            SampleValue::Float(value) => json.key("value").array(|json| {
                json.timestamp(sample.timestamp).value(*value);
            }),
            SampleValue::Histogram(histogram) => json.key("histogram").array(|json| {
                write_histogram(json.timestamp(sample.timestamp), histogram);
            }),
        };
    });
}

fn matrix_series(json: &mut Json, series: &MatrixSeries) {
    json.object(|json| {
        json.key("metric").labels(&series.labels);
        if !series.floats.is_empty() {
            json.key("values").array(|json| points(&mut json.text, &series.floats));
        }
        if !series.histograms.is_empty() {
            json.key("histograms").array(|json| {
                for (timestamp, histogram) in &series.histograms {
                    json.array(|json| write_histogram(json.timestamp(*timestamp), histogram));
                }
            });
        }
    });
}

/// The samples of a series: most of what most answers are made of.
fn points(out: &mut String, points: &[(i64, f64)]) {
    for (index, (timestamp, value)) in points.iter().enumerate() {
        out.push_str(if index == 0 { "[" } else { ",[" });
        write_timestamp(out, *timestamp);
        out.push_str(",\"");
        write_float(out, *value);
        out.push_str("\"]");
    }
}

fn write_histogram(json: &mut Json, histogram: &Histogram) {
    let count = match &histogram.counts {
        model::Counts::Int { count, .. } => *count as f64,
        model::Counts::Float { count, .. } => *count,
    };
    json.object(|json| {
        json.key("count").value(count);
        json.key("sum").value(histogram.sum);
        let buckets = promql::histogram::api::api_buckets(histogram);
        if buckets.is_empty() {
            return;
        }
        json.key("buckets").array(|json| {
            for bucket in buckets {
                json.array(|json| {
                    json.number(bucket.rule).value(bucket.lower).value(bucket.upper).value(bucket.count);
                });
            }
        });
    });
}

fn write_stats(json: &mut Json, stats: &QueryStats, work: Work) {
    json.object(|json| {
        json.key("timings").object(|json| {
            json.key("evalTotalTime").number(stats.eval_secs + stats.prepare_secs);
            json.key("resultSortTime").number(0);
            json.key("queryPreparationTime").number(stats.prepare_secs);
            json.key("innerEvalTime").number(stats.eval_secs);
            json.key("execQueueTime").number(stats.queue_secs);
            json.key("execTotalTime").number(stats.eval_secs + stats.prepare_secs);
        });
        json.key("samples").object(|json| {
            per_step(json, "totalQueryableSamplesPerStep", &stats.samples_per_step);
            json.key("totalQueryableSamples").number(stats.total_samples);
            per_step(json, "samplesReadPerStep", &stats.samples_read_per_step);
            json.key("samplesRead").number(stats.samples_read);
            json.key("peakSamples").number(stats.peak_samples);
        });
        json.key("storage").object(|json| {
            json.key("series").number(stats.n_series);
            json.key("samples").number(stats.select.n_samples);
            json.key("requests").number(stats.select.n_requests);
            json.key("bytes").number(stats.select.n_bytes);
        });
        json.key("frontend").object(|json| {
            json.key("parts").number(work.n_parts);
            json.key("cacheHits").number(work.n_hits);
            json.key("evaluations").number(work.n_evaluated);
        });
    });
}

fn per_step(json: &mut Json, key: &str, steps: &[(i64, u64)]) {
    if steps.is_empty() {
        return;
    }
    json.key(key).array(|json| {
        for (timestamp, n) in steps {
            json.array(|json| {
                json.timestamp(*timestamp).number(n);
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_annotations_ten_are_written_and_the_others_counted() {
        let many: Vec<String> = (0..13).map(|i| format!("note {i}")).collect();
        let written = |key, n: usize| {
            let mut json = Json::default();
            json.object(|json| annotations(json, key, &many[..n]));
            json.text
        };
        assert_eq!(written("infos", 0), "{}");
        assert!(written("infos", 10).ends_with(r#""note 9"]}"#));
        assert!(written("infos", 11).ends_with(r#""note 9","1 more info annotations omitted"]}"#));
        assert!(written("warnings", 13).ends_with(r#""note 9","3 more warning annotations omitted"]}"#));
    }

    #[test]
    fn a_vector_is_written_as_grafana_expects_it() {
        let labels = Labels::from_pairs([("__name__", "up"), ("path", "a\"b\n")]);
        let value =
            Value::Vector(vec![VectorSample { labels, timestamp: 1500, value: SampleValue::Float(1.0) }]);
        let mut json = Json::default();
        query_data(&mut json, &value, None);
        assert_eq!(
            json.text,
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","path":"a\"b\n"},"value":[1.500,"1"]}]}"#
        );
    }
}
