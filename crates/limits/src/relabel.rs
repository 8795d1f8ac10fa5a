use std::collections::BTreeMap;
use std::sync::Arc;

use md5::{Digest, Md5};
use regex::Regex;
use serde::{Deserialize, Serialize};

/// Rules that change or drop series as they arrive, one after the other, with the meaning that Prometheus gives them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<RelabelConfig>", into = "Vec<RelabelConfig>")]
pub struct Relabelling {
    rules: Arc<[Rule]>,
}

#[derive(Debug)]
struct Rule {
    config: RelabelConfig,
    /// Anchored at both ends.
    regex: Regex,
    /// Whether it matches everything as a whole, as it does when nobody gave another.
    is_default: bool,
}

/// One rule (`metric_relabel_configs` in Prometheus).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelabelConfig {
    /// The labels whose values, joined, the rule looks at.
    pub source_labels: Vec<String>,
    /// What stands between the values.
    pub separator: String,
    /// The label that is set.
    pub target_label: String,
    /// What the joined values must match, whole; of the actions on labels, what the names must.
    pub regex: String,
    /// For `hashmod`.
    pub modulus: u64,
    /// What is set; `$1` and `${name}` stand for groups of the regex.
    pub replacement: String,
    /// What is done.
    pub action: RelabelAction,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelabelAction {
    /// Sets the target to the replacement where the regex matches.
    #[default]
    Replace,
    /// Drops series that do not match.
    Keep,
    /// Drops series that match.
    Drop,
    /// Sets the target to the hash of the values modulo the modulus.
    HashMod,
    /// Copies labels whose names match to names made of the replacement.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Sets the target to the values in lower case.
    Lowercase,
    /// Sets the target to the values in upper case.
    Uppercase,
    /// Drops series whose values differ from the target's.
    KeepEqual,
    /// Drops series whose values are the target's.
    DropEqual,
}

/// Why a rule makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metric_relabel_configs: rule {number}: {what}")]
pub struct RelabelError {
    /// Counted from 1.
    pub number: usize,
    /// What is wrong.
    pub what: String,
}

/// The most bytes that a compiled regex may take.
const MAX_REGEX_BYTES: usize = 1 << 20;

impl Default for RelabelConfig {
    /// Prometheus's defaults.
    fn default() -> RelabelConfig {
        RelabelConfig {
            source_labels: Vec::new(),
            separator: ";".to_string(),
            target_label: String::new(),
            regex: "(.*)".to_string(),
            modulus: 0,
            replacement: "$1".to_string(),
            action: RelabelAction::Replace,
        }
    }
}

impl Relabelling {
    /// Checks and compiles rules.
    pub fn new(configs: Vec<RelabelConfig>) -> Result<Relabelling, RelabelError> {
        let rules = configs
            .into_iter()
            .enumerate()
            .map(|(i, config)| Rule::new(config).map_err(|what| RelabelError { number: i + 1, what }));
        Ok(Relabelling { rules: rules.collect::<Result<Vec<Rule>, RelabelError>>()?.into() })
    }

    /// Whether there is no rule.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Changes the labels of a series; false when the series is dropped.
    pub fn apply(&self, labels: &mut BTreeMap<String, String>) -> bool {
        self.rules.iter().all(|rule| rule.apply(labels))
    }
}

impl PartialEq for Relabelling {
    fn eq(&self, other: &Relabelling) -> bool {
        self.rules.iter().map(|rule| &rule.config).eq(other.rules.iter().map(|rule| &rule.config))
    }
}

impl TryFrom<Vec<RelabelConfig>> for Relabelling {
    type Error = RelabelError;

    fn try_from(configs: Vec<RelabelConfig>) -> Result<Relabelling, RelabelError> {
        Relabelling::new(configs)
    }
}

impl From<Relabelling> for Vec<RelabelConfig> {
    fn from(relabelling: Relabelling) -> Vec<RelabelConfig> {
        relabelling.rules.iter().map(|rule| rule.config.clone()).collect()
    }
}

impl Rule {
    fn new(config: RelabelConfig) -> Result<Rule, String> {
        check(&config)?;
        let regex =
            model::compile_framed(&config.regex, MAX_REGEX_BYTES).map_err(|e| format!("regex: {e}"))?;
        let is_default = config.regex == RelabelConfig::default().regex;
        Ok(Rule { config, regex, is_default })
    }

    fn apply(&self, labels: &mut BTreeMap<String, String>) -> bool {
        let RelabelConfig { target_label: target, action, .. } = &self.config;
        match action {
            RelabelAction::Keep => return self.regex.is_match(&self.values(labels)),
            RelabelAction::Drop => return !self.regex.is_match(&self.values(labels)),
            RelabelAction::KeepEqual => return get(labels, target) == self.values(labels),
            RelabelAction::DropEqual => return get(labels, target) != self.values(labels),
            RelabelAction::Replace => self.replace(labels),
            RelabelAction::Lowercase => set(labels, target, self.values(labels).to_lowercase()),
            RelabelAction::Uppercase => set(labels, target, self.values(labels).to_uppercase()),
            RelabelAction::HashMod => {
                let hash = hash(&self.values(labels)) % self.config.modulus.max(1);
                set(labels, target, hash.to_string());
            }
            RelabelAction::LabelMap => self.map_names(labels),
            RelabelAction::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            RelabelAction::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }

    /// The values of the source labels, joined.
    fn values(&self, labels: &BTreeMap<String, String>) -> String {
        let values: Vec<&str> = self.config.source_labels.iter().map(|name| get(labels, name)).collect();
        values.join(&self.config.separator)
    }

    fn replace(&self, labels: &mut BTreeMap<String, String>) {
        let RelabelConfig { target_label, replacement, .. } = &self.config;
        let values = self.values(labels);
        let is_plain = !target_label.contains('$') && !replacement.contains('$');
        if values.is_empty() && self.is_default && is_plain {
            return set(labels, target_label, replacement.clone());
        }
        let Some(groups) = self.regex.captures(&values) else { return };
        let (mut target, mut value) = (String::new(), String::new());
        groups.expand(target_label, &mut target);
        groups.expand(replacement, &mut value);
        if !target.is_empty() {
            set(labels, &target, value);
        }
    }

    fn map_names(&self, labels: &mut BTreeMap<String, String>) {
        let matching = labels.iter().filter(|(name, _)| self.regex.is_match(name));
        let copies: Vec<(String, String)> = matching
            .map(|(name, value)| {
                let name = self.regex.replace_all(name, self.config.replacement.as_str());
                (name.into_owned(), value.clone())
            })
            .collect();
        for (name, value) in copies {
            set(labels, &name, value);
        }
    }
}

fn check(config: &RelabelConfig) -> Result<(), String> {
    let RelabelConfig { action, target_label, modulus, .. } = config;
    let needs_target = !matches!(
        action,
        RelabelAction::Keep
            | RelabelAction::Drop
            | RelabelAction::LabelMap
            | RelabelAction::LabelDrop
            | RelabelAction::LabelKeep
    );
    if needs_target && target_label.is_empty() {
        return Err(format!("action {action:?} needs a target_label"));
    }
    if *action == RelabelAction::HashMod && *modulus == 0 {
        return Err("action hashmod needs a modulus above 0".to_string());
    }
    if *action == RelabelAction::LabelMap && config.replacement.is_empty() {
        return Err("action labelmap needs a replacement".to_string());
    }
    Ok(())
}

fn get<'a>(labels: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    labels.get(name).map_or("", String::as_str)
}

/// Sets a label; one without a value is none.
fn set(labels: &mut BTreeMap<String, String>, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_string(), value);
    }
}

/// The last eight bytes of the MD5, as Prometheus takes them: shards of several systems agree then.
fn hash(values: &str) -> u64 {
    let hash = Md5::digest(values.as_bytes());
    hash.iter().skip(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the rules make of `a=foo b=bar c=baz`, as text; `None` when they drop it.
    fn check(rules: &str) -> Option<String> {
        let rules: Relabelling = serde_json::from_str(rules).unwrap();
        let pairs = [("a", "foo"), ("b", "bar"), ("c", "baz")];
        let mut labels = pairs.into_iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        rules.apply(&mut labels).then(|| {
            labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        })
    }

    /// The cases of Prometheus's own description of each action.
    #[test]
    fn each_action_does_what_prometheus_says() {
        for (rules, expected) in [
            (
                r#"[{"source_labels":["a"],"target_label":"d","regex":"f(.*)","replacement":"ch${1}-ch${1}"}]"#,
                Some("a=foo b=bar c=baz d=choo-choo"),
            ),
            (
                r#"[{"source_labels":["a","b"],"target_label":"a","regex":"f(.*);(.*)r","replacement":"b${1}${2}m"}]"#,
                Some("a=boobam b=bar c=baz"),
            ),
            (r#"[{"source_labels":["a"],"regex":".*o.*","action":"drop"}]"#, None),
            (r#"[{"source_labels":["a"],"regex":"f","action":"drop"}]"#, Some("a=foo b=bar c=baz")),
            (r#"[{"source_labels":["a"],"regex":"no-match","action":"keep"}]"#, None),
            (r#"[{"source_labels":["a"],"regex":"f.*","action":"keep"}]"#, Some("a=foo b=bar c=baz")),
            (
                r#"[{"source_labels":["a"],"target_label":"a","regex":"f","replacement":"x"}]"#,
                Some("a=foo b=bar c=baz"),
            ),
            (
                r#"[{"source_labels":["a"],"target_label":"b","regex":".*","replacement":""}]"#,
                Some("a=foo c=baz"),
            ),
            (r#"[{"target_label":"team","replacement":"x"}]"#, Some("a=foo b=bar c=baz team=x")),
            (
                r#"[{"source_labels":["a"],"target_label":"${1}","regex":"f(.*)","replacement":"v"}]"#,
                Some("a=foo b=bar c=baz oo=v"),
            ),
            (
                r#"[{"source_labels":["a"],"target_label":"a","replacement":"$1$1"}]"#,
                Some("a=foofoo b=bar c=baz"),
            ),
            (
                r#"[{"source_labels":["c"],"target_label":"d","action":"hashmod","modulus":1000}]"#,
                Some("a=foo b=bar c=baz d=976"),
            ),
            (
                r#"[{"regex":"(b)","replacement":"bar_${1}","action":"labelmap"}]"#,
                Some("a=foo b=bar bar_b=bar c=baz"),
            ),
            (r#"[{"regex":"(b|c)","action":"labeldrop"}]"#, Some("a=foo")),
            (r#"[{"regex":"b","action":"labelkeep"}]"#, Some("b=bar")),
            (
                r#"[{"source_labels":["a","b"],"separator":"-","target_label":"d","action":"uppercase"}]"#,
                Some("a=foo b=bar c=baz d=FOO-BAR"),
            ),
            (r#"[{"source_labels":["a"],"target_label":"b","action":"keepequal"}]"#, None),
            (
                r#"[{"source_labels":["a"],"target_label":"a","action":"keepequal"}]"#,
                Some("a=foo b=bar c=baz"),
            ),
            (r#"[{"source_labels":["a"],"target_label":"a","action":"dropequal"}]"#, None),
            (
                r#"[{"source_labels":["x"],"target_label":"a","action":"dropequal"}]"#,
                Some("a=foo b=bar c=baz"),
            ),
            (
                r#"[{"regex":"a","action":"labeldrop"},{"source_labels":["a"],"regex":"foo","action":"keep"}]"#,
                None,
            ),
            (
                r#"[{"source_labels":["a"],"target_label":"a","action":"uppercase"},{"source_labels":["a"],"target_label":"a","action":"lowercase"}]"#,
                Some("a=foo b=bar c=baz"),
            ),
        ] {
            assert_eq!(check(rules).as_deref(), expected, "{rules}");
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_refused_by_number() {
        for (rules, part) in [
            (r#"[{"source_labels":["a"]}]"#, "rule 1: action Replace needs a target_label"),
            (
                r#"[{"action":"labeldrop"},{"action":"hashmod","target_label":"a"}]"#,
                "rule 2: action hashmod needs a modulus",
            ),
            (r#"[{"action":"keep","regex":"("}]"#, "rule 1: regex"),
            (r#"[{"action":"keep","regex":"(a{1000}){1000}"}]"#, "rule 1: regex"),
            (r#"[{"action":"explode"}]"#, "unknown variant"),
            (r#"[{"sourcelabels":["a"]}]"#, "unknown field"),
        ] {
            let error = serde_json::from_str::<Relabelling>(rules).unwrap_err().to_string();
            assert!(error.contains(part), "{rules}: {error}");
        }
    }

    #[test]
    fn a_dot_matches_a_line_break_and_the_whole_value_must_match() {
        let rules: Relabelling =
            serde_json::from_str(r#"[{"source_labels":["a"],"regex":"x.y|z","action":"keep"}]"#).unwrap();
        let kept = |value: &str| rules.apply(&mut BTreeMap::from([("a".to_string(), value.to_string())]));
        assert!(kept("x\ny") && kept("z") && !kept("zz") && !kept("ax-y"));
    }
}
