/// Replaces `${NAME}` and `${NAME:-default}` by what `lookup` knows; `$$` is a dollar sign.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('{') {
            let (name, tail) =
                tail.split_once('}').ok_or("a \"${\" in the configuration file is not closed")?;
            out.push_str(&value(name, &lookup)?);
            rest = tail;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn value(name: &str, lookup: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = name.split_once(":-").map_or((name, None), |(name, default)| (name, Some(default)));
    let found = lookup(name).filter(|value| !value.is_empty() || default.is_none());
    found.or_else(|| default.map(str::to_string)).ok_or_else(|| {
        format!("the configuration file wants the environment variable {name}, which is not set")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_missing_ones_named() {
        let lookup = |name: &str| (name == "HOST").then(|| "h1".to_string());
        assert_eq!(expand("a: ${HOST}:${PORT:-9009} $$x $y", lookup).unwrap(), "a: h1:9009 $x $y");
        assert!(expand("${NOPE}", lookup).unwrap_err().contains("NOPE"));
        assert!(expand("${HOST", lookup).is_err());
    }
}
