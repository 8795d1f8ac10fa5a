//! Whether a Firn holds exactly what a Prometheus holds: every raw sample of every series, and every exemplar.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use system_tests::{Firn, FirnOptions, get_json_with, seconds};

use super::fleet::FIRN;

/// A Prometheus, and the tenant of Firn that should be its equal.
pub(super) struct Pair {
    /// What is compared, for people.
    pub(super) what: &'static str,
    /// Where the truth is asked.
    pub(super) prometheus: String,
    pub(super) tenant: String,
    /// Whether exemplars are compared, too.
    pub(super) exemplars: bool,
}

/// The time that is compared, in milliseconds, both ends included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// What a server has: by labels, in the words of its answers.
type Everything = BTreeMap<String, Vec<String>>;

/// A Firn that can be killed and started again over its folder.
pub(super) struct Mortal {
    pub(super) firn: Option<Firn>,
    pub(super) dir: tempfile::TempDir,
    options: FirnOptions,
}

impl Mortal {
    pub(super) fn start(options: FirnOptions) -> Mortal {
        Mortal::start_in(tempfile::tempdir().unwrap(), options)
    }

    /// Starts with a configuration file of this text.
    pub(super) fn configured(config: &str) -> Mortal {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("firn.yaml");
        std::fs::write(&file, config).unwrap();
        let options = FirnOptions::flags(&[&format!("-config.file={}", file.display())]);
        Mortal::start_in(dir, options)
    }

    fn start_in(dir: tempfile::TempDir, options: FirnOptions) -> Mortal {
        let firn = Some(Firn::start(FIRN, dir.path(), &options).unwrap());
        Mortal { firn, dir, options }
    }

    pub(super) fn firn(&self) -> &Firn {
        self.firn.as_ref().unwrap()
    }

    /// As `kill -9`, and up again.
    fn kill_and_restart(&mut self) {
        if let Some(mut firn) = self.firn.take() {
            firn.child().kill();
        }
        self.firn = Some(Firn::start(FIRN, self.dir.path(), &self.options).unwrap());
    }

    /// Compares before a flush, after a kill, after a flush, and after another kill.
    ///
    /// # Panics
    /// If anything differs at any time.
    pub(super) fn check_through_its_life(&mut self, pairs: &[Pair], window: Window) {
        let truths: Vec<(Everything, Everything)> =
            pairs.iter().map(|pair| everything(pair, &pair.prometheus, None, window).unwrap()).collect();
        let mut wrong = Vec::new();
        self.compare("before a flush", pairs, &truths, window, &mut wrong);
        self.kill_and_restart();
        self.compare("after kill -9", pairs, &truths, window, &mut wrong);
        self.firn().flush_all().unwrap();
        self.compare("after a flush", pairs, &truths, window, &mut wrong);
        self.kill_and_restart();
        self.compare("after a flush and kill -9", pairs, &truths, window, &mut wrong);
        assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    }

    fn compare(
        &self,
        when: &str,
        pairs: &[Pair],
        truths: &[(Everything, Everything)],
        window: Window,
        wrong: &mut Vec<String>,
    ) {
        for (pair, truth) in pairs.iter().zip(truths) {
            let found = everything(pair, self.firn().url(), Some(&pair.tenant), window);
            let difference = found.and_then(|found| {
                same("samples", &truth.0, &found.0)?;
                same("exemplars", &truth.1, &found.1)
            });
            let count = |all: &Everything| (all.len(), all.values().map(Vec::len).sum::<usize>());
            println!(
                "{}, {when}: {:?} series and samples, {:?} series and exemplars: {}",
                pair.what,
                count(&truth.0),
                count(&truth.1),
                if difference.is_ok() { "equal" } else { "DIFFERENT" }
            );
            assert!(!truth.0.is_empty() && (!pair.exemplars || !truth.1.is_empty()), "nothing to compare");
            wrong.extend(difference.err().map(|e| format!("{}, {when}: {e}", pair.what)));
        }
    }
}

/// All raw samples and exemplars.
fn everything(
    pair: &Pair,
    url: &str,
    tenant: Option<&str>,
    window: Window,
) -> Result<(Everything, Everything), String> {
    let headers: Vec<(&str, &str)> = tenant.map(|tenant| ("X-Scope-OrgID", tenant)).into_iter().collect();
    // A range selector leaves its left end out.
    let all = format!("{{__name__=~\".+\"}}[{}ms]", window.to - window.from + 1);
    let (from, to) = (seconds(window.from), seconds(window.to));
    let answer = get_json_with(&format!("{url}/api/v1/query"), &[("query", &all), ("time", &to)], &headers)?;
    let samples = by_labels(&answer["data"]["result"], "metric", &["values", "histograms"])?;
    if !pair.exemplars {
        return Ok((samples, Everything::new()));
    }
    let range = [("query", "{__name__=~\".+\"}"), ("start", from.as_str()), ("end", &to)];
    let answer = get_json_with(&format!("{url}/api/v1/query_exemplars"), &range, &headers)?;
    Ok((samples, by_labels(&answer["data"], "seriesLabels", &["exemplars"])?))
}

fn by_labels(list: &Value, labels: &str, fields: &[&str]) -> Result<Everything, String> {
    let mut all = Everything::new();
    for series in list.as_array().ok_or_else(|| format!("no list: {list}"))? {
        let entries = fields.iter().flat_map(|field| series[field].as_array().into_iter().flatten());
        let entries = entries.map(canonical).collect();
        if all.insert(canonical(&series[labels]), entries).is_some() {
            return Err(format!("{} is there twice", series[labels]));
        }
    }
    Ok(all)
}

/// JSON with the keys of its objects in order.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<&String, String> = object.iter().map(|(k, v)| (k, canonical(v))).collect();
            format!("{sorted:?}")
        }
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// Says the first differences.
fn same(what: &str, truth: &Everything, found: &Everything) -> Result<(), String> {
    if truth == found {
        return Ok(());
    }
    let missing: Vec<_> = truth.keys().filter(|labels| !found.contains_key(*labels)).collect();
    let more: Vec<_> = found.keys().filter(|labels| !truth.contains_key(*labels)).collect();
    let mut lines = vec![format!(
        "{what}: {} series missing ({:?}…), {} too many ({:?}…)",
        missing.len(),
        missing.iter().take(3).collect::<Vec<_>>(),
        more.len(),
        more.iter().take(3).collect::<Vec<_>>()
    )];
    let both = truth.iter().filter_map(|(labels, list)| Some((labels, list, found.get(labels)?)));
    for (labels, list, other) in both.filter(|(_, list, other)| list != other).take(4) {
        let n = list.iter().zip(other).take_while(|(a, b)| a == b).count();
        lines.push(format!(
            "{what} of {labels}: {} should be {}; the first that differs: {:?}, should be {:?}",
            other.len(),
            list.len(),
            other.get(n),
            list.get(n)
        ));
    }
    Err(lines.join("\n  "))
}

/// The folder of a sender's files.
pub(super) fn folder(mortal: &Mortal, name: &str) -> PathBuf {
    let dir = mortal.dir.path().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
