//! Where answers cannot be equal, and what must hold instead. A rule that is not needed any more fails the test.

use serde_json::Value;

use super::compare::{Reply, same};

/// A reason, and what is true all the same.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    /// Whether the answers may be equal by chance.
    pub(super) by_chance: bool,
    /// Theirs, ours.
    pub(super) holds: fn(&Reply, &Reply) -> Result<(), String>,
}

/// All rules, so that each is known to be in use.
pub(super) const ALL: [&Rule; 9] =
    [&NOW, &STATS, &BUILD_INFO, &HEAD, &BY_POST, &LABELS_LIMIT, &NO_SELECTOR, &REVERSED, &TINY_STEP];

pub(super) static NOW: Rule = Rule {
    name: "now",
    why: "without a time the answer is about the moment of asking, which is another for each server",
    by_chance: false,
    holds: |theirs, ours| {
        let timeless = |reply: &Reply| -> Result<Value, String> {
            let mut answer = reply.json().ok_or("no JSON")?;
            let samples = answer["data"]["result"].as_array_mut().ok_or("no result")?;
            for sample in samples.iter_mut() {
                let at = sample["value"][0].take();
                at.as_f64().ok_or_else(|| format!("{at} is no time"))?;
            }
            samples.sort_by_key(|sample| sample["metric"]["instance"].to_string());
            Ok(answer)
        };
        same("", &timeless(theirs)?, &timeless(ours)?, false)
    },
};

pub(super) static STATS: Rule = Rule {
    name: "stats",
    why: "times are each run's own, and so are the most samples at once; Firn also tells what it asked of the object \
          store",
    by_chance: false,
    holds: |theirs, ours| {
        let (theirs, ours) = (theirs.json().ok_or("no JSON")?, ours.json().ok_or("no JSON")?);
        same("result", &theirs["data"]["result"], &ours["data"]["result"], true)?;
        same("warnings", &theirs["warnings"], &ours["warnings"], false)?;
        let (theirs, ours) = (&theirs["data"]["stats"], &ours["data"]["stats"]);
        for group in ["timings", "samples"] {
            let keys = theirs[group].as_object().ok_or_else(|| format!("no {group}"))?.keys();
            for key in keys {
                let own = group == "timings" || key == "peakSamples";
                match own {
                    true if ours[group][key].is_number() => {}
                    true => return Err(format!("{group}.{key} is no number: {}", ours[group][key])),
                    false => same(&format!("{group}.{key}"), &theirs[group][key], &ours[group][key], false)?,
                }
            }
        }
        Ok(())
    },
};

pub(super) static BUILD_INFO: Rule = Rule {
    name: "build info",
    why: "Firn is built of other revisions by other people; its version of the API is the same, and it must not list \
          features, by which Grafana would take it for a Mimir",
    by_chance: false,
    holds: |theirs, ours| {
        let (theirs, ours) = (theirs.json().ok_or("no JSON")?, ours.json().ok_or("no JSON")?);
        let keys = theirs["data"].as_object().ok_or("no data")?.keys();
        if let Some(missing) = keys.into_iter().find(|key| !ours["data"][key.as_str()].is_string()) {
            return Err(format!("no text {missing}"));
        }
        match ours["data"]["version"] == theirs["data"]["version"] && ours["data"].get("features").is_none() {
            true => Ok(()),
            false => Err(format!("{}", ours["data"])),
        }
    },
};

pub(super) static HEAD: Rule = Rule {
    name: "HEAD",
    why: "Prometheus refuses HEAD on its API; Firn answers as HTTP has it, as to GET but without a body",
    by_chance: false,
    holds: |theirs, ours| match (theirs.status, ours.status, ours.body.is_empty()) {
        (405, 200, true) => Ok(()),
        other => Err(format!("{other:?}")),
    },
};

pub(super) static BY_POST: Rule = Rule {
    name: "POST",
    why: "Prometheus reads these only by GET; Firn by both, so that clients that begin with POST need not ask twice",
    by_chance: false,
    holds: |theirs, ours| match (theirs.status, ours.status) {
        (405, 200) => Ok(()),
        other => Err(format!("{other:?}")),
    },
};

pub(super) static LABELS_LIMIT: Rule = Rule {
    name: "limit of label values",
    why: "Prometheus takes so many values as they lie in its index and sorts these; Firn has the first ones. Both warn",
    by_chance: true,
    holds: |theirs, ours| {
        let (theirs, ours) = (theirs.json().ok_or("no JSON")?, ours.json().ok_or("no JSON")?);
        let n = |answer: &Value| answer["data"].as_array().map(Vec::len);
        match n(&theirs) == n(&ours) && theirs["warnings"] == ours["warnings"] {
            true => Ok(()),
            false => Err(format!("{:?} values, {:?}: {}", n(&theirs), n(&ours), ours["warnings"])),
        }
    },
};

pub(super) static NO_SELECTOR: Rule = Rule {
    name: "exemplars of nothing",
    why: "to a query without a selector Prometheus answers 204 and nothing, which is not JSON; Firn has an empty list",
    by_chance: false,
    holds: |theirs, ours| {
        let empty = ours.json().is_some_and(|json| json["data"].as_array().is_some_and(Vec::is_empty));
        match (theirs.status, ours.status, empty) {
            (204, 200, true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    },
};

pub(super) static REVERSED: Rule = Rule {
    name: "a range that ends before it begins",
    why: "Prometheus answers with what happens to be in its head; Firn says what is wrong, as both do for queries",
    by_chance: false,
    holds: |theirs, ours| match (theirs.status, ours.status, ours.json()) {
        (200, 400, Some(json)) if json["errorType"] == "bad_data" => Ok(()),
        other => Err(format!("{other:?}")),
    },
};

pub(super) static TINY_STEP: Rule = Rule {
    name: "a step below a millisecond",
    why: "Prometheus divides by its zero milliseconds and says so with 422; Firn says that the step is too small",
    by_chance: false,
    holds: |theirs, ours| match (theirs.status, ours.status, ours.json()) {
        (422, 400, Some(json)) if json["errorType"] == "bad_data" => Ok(()),
        other => Err(format!("{other:?}")),
    },
};
