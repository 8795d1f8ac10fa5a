use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names; in text with commas between, as Mimir writes them. A list is read as well.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Names(Vec<String>);

/// Names of what is enabled, or `all`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnabledNames(Names);

/// What stands for every name.
const ALL: &str = "all";

impl Names {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }
}

impl EnabledNames {
    /// Everything is enabled.
    pub fn all() -> EnabledNames {
        [ALL].into_iter().collect()
    }

    /// The names; `None` when everything is enabled.
    pub fn names(&self) -> Option<&[String]> {
        let EnabledNames(names) = self;
        if names.contains(ALL) { None } else { Some(&names.0) }
    }

    /// What is enabled in both.
    pub fn and(&self, other: &EnabledNames) -> EnabledNames {
        match (self.names(), other.names()) {
            (None, _) => other.clone(),
            (_, None) => self.clone(),
            (Some(own), Some(others)) => own.iter().filter(|name| others.contains(name)).collect(),
        }
    }
}

impl<S: AsRef<str>> FromIterator<S> for EnabledNames {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> EnabledNames {
        EnabledNames(names.into_iter().collect())
    }
}

impl<S: AsRef<str>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Names {
        let names = names.into_iter().map(|name| name.as_ref().trim().to_string());
        Names(names.filter(|name| !name.is_empty()).collect())
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.join(","))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
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
    fn names_are_read_from_text_and_from_a_list_and_all_is_every_name() {
        let of = |json: &str| serde_json::from_str::<EnabledNames>(json).unwrap();
        assert_eq!(of("\" info, ,limitk\""), of("[\"info\", \"limitk\"]"));
        assert_eq!(of("\"info,all\"").names(), None);
        assert_eq!(of("\"\"").names(), Some(&[][..]));
        assert_eq!(serde_json::to_string(&of("\"info, limitk\"")).unwrap(), "\"info,limitk\"");
    }

    #[test]
    fn names_are_read_from_text_and_from_a_list() {
        let names: Names = serde_json::from_str("\" host.name, ,k8s.pod.name\"").unwrap();
        let list: Names = serde_json::from_str("[\"host.name\",\"k8s.pod.name\"]").unwrap();
        assert_eq!(names, list);
        assert!(names.contains("host.name") && !names.contains("host"));
        assert_eq!(serde_json::to_string(&names).unwrap(), "\"host.name,k8s.pod.name\"");
    }

    #[test]
    fn of_two_tenants_what_both_have_is_enabled() {
        let of = |names: &[&str]| names.iter().copied().collect::<EnabledNames>();
        assert_eq!(EnabledNames::all().and(&of(&["info"])), of(&["info"]));
        assert_eq!(of(&["info", "limitk"]).and(&of(&["limitk", "max_of"])), of(&["limitk"]));
        assert_eq!(of(&["info"]).and(&EnabledNames::all()), of(&["info"]));
    }
}
