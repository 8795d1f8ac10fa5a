//! The names of limits of queries: they are static here, and text between processes.

use wire::RawRequest;

/// The limit's name, if it is one of ours.
pub(crate) fn known(name: &str) -> &'static str {
    let ours =
        ["max_series_per_query", "max_samples_per_query", "max_bytes_per_query", RawRequest::SAMPLES_MAX];
    ours.into_iter().find(|ours| *ours == name).unwrap_or("a limit of another release")
}
