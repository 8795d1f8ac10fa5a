use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_goes_by_the_name_that_prometheus_gives_it() {
        let strategy: TranslationStrategy = serde_json::from_str("\"NoUTF8EscapingWithSuffixes\"").unwrap();
        assert!(!strategy.escapes() && strategy.adds_suffixes());
        assert!(serde_json::from_str::<TranslationStrategy>("\"None\"").is_err());
    }
}
