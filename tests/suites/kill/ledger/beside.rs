//! What goes with the samples of a push: an exemplar of a series that has no samples, as Prometheus sends them, and now
//! and then the description of a metric family.

use std::collections::BTreeSet;

use serde_json::Value;
use system_tests::{Surface, TimeSeries, WriteRequest, get_json, seconds};

use super::{JOBS, Ledger, Stream};

impl Stream {
    fn brings_exemplar(n: u64) -> bool {
        !Stream::is_text(n)
    }

    fn brings_description(n: u64) -> bool {
        !Stream::is_text(n) && n.is_multiple_of(3)
    }

    pub(super) fn add_beside(&self, n: u64, request: &mut WriteRequest) {
        if Stream::brings_exemplar(n) {
            let (job, number, stream) = (format!("j{}", n % JOBS), n.to_string(), self.id.to_string());
            let labels = [("__name__", "kill_e"), ("job", &job), ("n", &number), ("stream", &stream)];
            let series = TimeSeries::new(labels);
            request.push(&series.exemplar(
                self.timestamp(n),
                n as f64 * 0.1,
                [("trace_id", number.as_str())],
            ));
        }
        if Stream::brings_description(n) {
            request.metadata(&self.family(n), 1, &format!("Of push {n}."));
        }
    }

    fn family(&self, n: u64) -> String {
        format!("kill_family_{}_{n}", self.id)
    }
}

impl Ledger {
    /// The exemplar of every push that was acknowledged is there, once and as it was sent, and so is the description.
    pub(super) fn check_beside(&self, firn: &Surface) -> Result<(), String> {
        let found = self.exemplars(firn)?;
        self.compare_beside("exemplar", &found, Stream::brings_exemplar)?;
        let found = self.descriptions(firn)?;
        self.compare_beside("description", &found, Stream::brings_description)
    }

    /// The pushes whose exemplars are found.
    fn exemplars(&self, firn: &Surface) -> Result<BTreeSet<u64>, String> {
        let url = format!("{}/api/v1/query_exemplars", firn.query);
        let selector = format!("kill_e{{stream=\"{}\"}}", self.stream.id);
        let (from, to) = (seconds(self.stream.base_ms), seconds(self.stream.end_ms(self.next)));
        let answer = get_json(&url, &[("query", &selector), ("start", &from), ("end", &to)])?;
        let mut found = BTreeSet::new();
        for series in answer["data"].as_array().into_iter().flatten() {
            let number = series["seriesLabels"]["n"].as_str().and_then(|n| n.parse().ok());
            let n: u64 = number.ok_or_else(|| format!("an exemplar of {series}"))?;
            let exemplars = series["exemplars"].as_array().map_or(&[][..], Vec::as_slice);
            let [exemplar] = exemplars else { return Err(format!("push {n} has the exemplars {series}")) };
            let value = exemplar["value"].as_str().and_then(|value| value.parse::<f64>().ok());
            let at = exemplar["timestamp"].as_f64().map(|at| (at * 1000.0).round() as i64);
            let is_right = value == Some(n as f64 * 0.1)
                && at == Some(self.stream.timestamp(n))
                && exemplar["labels"]["trace_id"] == Value::String(n.to_string());
            if !is_right || !found.insert(n) {
                return Err(format!("the exemplar of push {n} is {series}"));
            }
        }
        Ok(found)
    }

    /// The pushes whose descriptions are found.
    fn descriptions(&self, firn: &Surface) -> Result<BTreeSet<u64>, String> {
        let answer = get_json(&format!("{}/api/v1/metadata", firn.query), &[])?;
        let mut found = BTreeSet::new();
        let prefix = format!("kill_family_{}_", self.stream.id);
        for (family, described) in answer["data"].as_object().into_iter().flatten() {
            let Some(n) = family.strip_prefix(&prefix).and_then(|n| n.parse::<u64>().ok()) else { continue };
            let help = format!("Of push {n}.");
            if described != &serde_json::json!([{"type": "counter", "unit": "", "help": help}]) {
                return Err(format!("{family} is described as {described}"));
            }
            found.insert(n);
        }
        Ok(found)
    }

    fn compare_beside(
        &self,
        what: &str,
        found: &BTreeSet<u64>,
        brings: fn(u64) -> bool,
    ) -> Result<(), String> {
        let acknowledged: BTreeSet<u64> = self.acknowledged.iter().copied().filter(|n| brings(*n)).collect();
        let lost: Vec<&u64> = acknowledged.difference(found).collect();
        if let Some(first) = lost.first() {
            return Err(format!(
                "LOST: the {what} of {} acknowledged pushes out of {}, first {first}",
                lost.len(),
                acknowledged.len()
            ));
        }
        let sent = |n: &&u64| self.acknowledged.contains(n) || self.in_doubt.contains(n);
        match found.iter().find(|n| !sent(n)) {
            Some(n) => Err(format!("the {what} of push {n} was never sent")),
            None => Ok(()),
        }
    }
}
