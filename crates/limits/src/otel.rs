use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How names of OpenTelemetry become names of metrics and labels; Prometheus's four ways, by its names for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TranslationStrategy {
    /// What is not letter, digit, colon or underscore becomes an underscore; unit and type become suffixes.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// The same without the suffixes.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay as they are; unit and type become suffixes.
    NoUTF8EscapingWithSuffixes,
    /// Names stay as they are. Metrics that differ in unit or type alone become one.
    NoTranslation,
}

impl TranslationStrategy {
    /// Whether names are reduced to the characters that every version of Prometheus knows.
    pub fn escapes(self) -> bool {
        matches!(
            self,
            TranslationStrategy::UnderscoreEscapingWithSuffixes
                | TranslationStrategy::UnderscoreEscapingWithoutSuffixes
        )
    }

    /// Whether unit and type are added to the names of metrics.
    pub fn adds_suffixes(self) -> bool {
        matches!(
            self,
            TranslationStrategy::UnderscoreEscapingWithSuffixes
                | TranslationStrategy::NoUTF8EscapingWithSuffixes
        )
    }
}

/// Names of attributes; in text with commas between, as Mimir writes them. A list is read as well.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AttributeNames(Vec<String>);

impl AttributeNames {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }
}

impl<S: AsRef<str>> FromIterator<S> for AttributeNames {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> AttributeNames {
        let names = names.into_iter().map(|name| name.as_ref().trim().to_string());
        AttributeNames(names.filter(|name| !name.is_empty()).collect())
    }
}

impl Serialize for AttributeNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.join(","))
    }
}

impl<'de> Deserialize<'de> for AttributeNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AttributeNames, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            List(Vec<String>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Text(text) => text.split(',').collect(),
            Form::List(names) => names.into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_names_are_read_from_text_and_from_a_list() {
        let names: AttributeNames = serde_json::from_str("\" host.name, ,k8s.pod.name\"").unwrap();
        let list: AttributeNames = serde_json::from_str("[\"host.name\",\"k8s.pod.name\"]").unwrap();
        assert_eq!(names, list);
        assert!(names.contains("host.name") && !names.contains("host"));
        assert_eq!(serde_json::to_string(&names).unwrap(), "\"host.name,k8s.pod.name\"");
    }

    #[test]
    fn a_strategy_goes_by_the_name_that_prometheus_gives_it() {
        let strategy: TranslationStrategy = serde_json::from_str("\"NoUTF8EscapingWithSuffixes\"").unwrap();
        assert!(!strategy.escapes() && strategy.adds_suffixes());
        assert!(serde_json::from_str::<TranslationStrategy>("\"None\"").is_err());
    }
}
