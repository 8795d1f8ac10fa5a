//! The parameters of operations: what a name means is the same wherever it is taken.

/// What a parameter's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Texts,
    Integer,
    Boolean,
    Time,
    Duration,
}

impl Kind {
    pub(super) const ALL: [Kind; 6] =
        [Kind::Text, Kind::Texts, Kind::Integer, Kind::Boolean, Kind::Time, Kind::Duration];

    /// The name of its schema.
    pub(super) fn schema(self) -> &'static str {
        match self {
            Kind::Text => "Text",
            Kind::Texts => "Texts",
            Kind::Integer => "Integer",
            Kind::Boolean => "Boolean",
            Kind::Time => "Time",
            Kind::Duration => "Duration",
        }
    }

    /// The schema.
    pub(super) fn form(self) -> &'static str {
        match self {
            Kind::Text => "{type: string}",
            Kind::Texts => "{type: array, items: {type: string}}",
            Kind::Integer => "{type: integer, format: int64}",
            Kind::Boolean => "{type: boolean}",
            Kind::Time => {
                "{description: Seconds since 1970 or RFC 3339., \
                 oneOf: [{type: number}, {type: string, format: date-time}]}"
            }
            Kind::Duration => {
                "{description: Seconds or a duration such as 1h30m., oneOf: [{type: number}, {type: string}]}"
            }
        }
    }
}

type Parameter = (&'static str, Kind, &'static str);

const ALL: [Parameter; 50] = [
    ("batch_size", Kind::Integer, "How many results a line has."),
    ("case_sensitive", Kind::Boolean, "Whether capitals count."),
    ("count_method", Kind::Text, "active or inmemory: which series are counted."),
    ("end", Kind::Time, "The end of the range, included."),
    ("exclude_alerts", Kind::Boolean, "Leaves the alerts of rules out."),
    ("extra_label", Kind::Texts, "A label, as name=value, that every sample gets."),
    ("file[]", Kind::Texts, "Rule files."),
    ("format", Kind::Text, "json, arrow or parquet."),
    ("fuzz_alg", Kind::Text, "subsequence or jarowinkler: how alike texts are compared."),
    ("fuzz_threshold", Kind::Integer, "From 0 to 100: how alike a result must be."),
    ("get_vm_proto_version", Kind::Text, "With 1, vmagent learns which of its protocols are spoken."),
    ("group_limit", Kind::Integer, "Rule groups of a page."),
    ("group_next_token", Kind::Text, "Where the page begins."),
    ("include_metadata", Kind::Boolean, "Whether results tell type, unit and help of a metric."),
    ("include_score", Kind::Boolean, "Whether results tell how alike they are."),
    ("label", Kind::Text, "The label whose values are searched."),
    ("label_names[]", Kind::Texts, "The labels whose values are counted."),
    ("labels", Kind::Text, "Labels as an object of JSON."),
    ("limit", Kind::Integer, "The most entries of the answer; mostly 0 is any number."),
    ("limit_per_metric", Kind::Integer, "The most descriptions of a metric."),
    ("log_level", Kind::Text, "error, warn, info, debug or trace, also by module."),
    ("lookback_delta", Kind::Duration, "How old a sample may be that stands for the present."),
    ("match[]", Kind::Texts, "Selectors; a series is chosen by any of them."),
    ("match_target", Kind::Text, "A selector of targets."),
    ("maxLifetime", Kind::Duration, "How long ago the queries may be."),
    ("max_rows_per_line", Kind::Integer, "How many samples a line has at most."),
    ("metric", Kind::Text, "The name of a metric."),
    ("metric_name_pattern", Kind::Text, "A regular expression that a whole name must match."),
    ("mode", Kind::Text, "diff: only what differs from the defaults."),
    ("name", Kind::Text, "The name of a label; one that begins with U__ is unescaped."),
    ("nocache", Kind::Text, "With 1, nothing that was kept is used, and nothing is kept."),
    ("query", Kind::Text, "An expression of PromQL."),
    ("rule_group[]", Kind::Texts, "Names of rule groups."),
    ("rule_name[]", Kind::Texts, "Names of rules."),
    ("scrapePool", Kind::Text, "The name of a scrape pool."),
    ("search[]", Kind::Texts, "Terms; a name that is like one of them is found."),
    ("selector", Kind::Text, "A selector."),
    ("skip_head", Kind::Boolean, "Leaves out what is in memory."),
    ("sort_by", Kind::Text, "alpha or score."),
    ("sort_dir", Kind::Text, "asc or dsc."),
    ("start", Kind::Time, "The beginning of the range, included."),
    ("state", Kind::Text, "active, dropped or any."),
    ("stats", Kind::Text, "true for what the query cost, all for that by step too."),
    ("step", Kind::Duration, "The time between two evaluations."),
    ("time", Kind::Time, "When the query is evaluated; now if not given."),
    ("timeout", Kind::Duration, "How long the query may take, up to the limit query_timeout."),
    ("timestamp", Kind::Integer, "Milliseconds since 1970 for samples without a time."),
    ("topN", Kind::Integer, "How many queries a list has."),
    ("type", Kind::Text, "alert or record."),
    ("openapi_version", Kind::Text, "3.1 is what there is."),
];

/// What is known of a parameter.
pub(super) fn of(name: &str) -> Parameter {
    let known = ALL.into_iter().find(|(known, ..)| *known == name);
    known.unwrap_or(("", Kind::Text, ""))
}

/// Its name among the components.
pub(super) fn key(name: &str) -> &str {
    name.trim_end_matches("[]")
}

#[cfg(test)]
mod tests {
    use super::super::operations;
    use super::*;

    #[test]
    fn every_parameter_is_described_and_used() {
        let operations = || operations::ALL.iter().flat_map(|part| part.iter());
        for operation in operations() {
            for name in operation.params {
                assert_eq!(of(name).0, *name, "{}", operation.path);
            }
        }
        for (name, ..) in ALL {
            assert!(operations().any(|operation| operation.params.contains(&name)), "{name} is used nowhere");
        }
    }
}
