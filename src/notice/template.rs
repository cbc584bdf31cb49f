//! Bodies with places to fill in: `{{job}}` becomes text that fits between the quotes of JSON, `{{{job}}}` the
//! text as it is. Knows no names of its own.

use serde_json::{Map, Value};

/// Whether `template` can be filled in where `known` are the names; otherwise what is wrong with it.
pub fn check(template: &str, known: &[&str]) -> Result<(), String> {
    fill(template, &mut |name, _| match known.contains(&name) {
        true => Ok(String::new()),
        false => Err(format!("there is no `{name}`; there are: {}", known.join(", "))),
    })
    .map(drop)
}

/// What has no value becomes nothing.
pub(super) fn render(template: &str, fields: &Map<String, Value>) -> Result<String, String> {
    fill(template, &mut |name, raw| {
        let text = match fields.get(name) {
            None => return Err(format!("there is no `{name}`")),
            Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        Ok(if raw { text } else { in_quotes(text) })
    })
}

fn fill(
    template: &str,
    value: &mut dyn FnMut(&str, bool) -> Result<String, String>,
) -> Result<String, String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let (raw, after) = match after.strip_prefix('{') {
            Some(after) => (true, after),
            None => (false, after),
        };
        let end = if raw { "}}}" } else { "}}" };
        let (name, after) =
            after.split_once(end).ok_or_else(|| format!("a `{{{{` is not closed by `{end}`"))?;
        filled.push_str(&value(name.trim(), raw)?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn in_quotes(text: String) -> String {
    let quoted = Value::String(text).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Map<String, Value> {
        let Value::Object(fields) = serde_json::json!({
            "job": "backup", "reason": "a \"quoted\"\nline \\ {{job}}", "code": 16, "hint": null,
        }) else {
            unreachable!()
        };
        fields
    }

    #[test]
    fn values_fit_between_the_quotes_of_json() {
        let text = r#"{"text": "{{ job }} ended with {{code}}: {{reason}}{{hint}}", "a": {"b": {}}}"#;
        let filled = render(text, &fields()).unwrap();
        let value: Value = serde_json::from_str(&filled).unwrap();
        assert_eq!(value["text"], "backup ended with 16: a \"quoted\"\nline \\ {{job}}");
    }

    #[test]
    fn text_as_it_is_on_request() {
        assert_eq!(render("<{{{reason}}}>", &fields()).unwrap(), "<a \"quoted\"\nline \\ {{job}}>");
    }

    #[test]
    fn mistakes_are_found_before_anything_is_sent() {
        let check = |template| check(template, &["job", "text", "title"]);
        assert_eq!(check("{{title}} {{{text}}} {\"a\": {}}"), Ok(()));
        assert_eq!(check("{{jobb}}").unwrap_err(), "there is no `jobb`; there are: job, text, title");
        assert!(check("{{job}").unwrap_err().contains("not closed"));
        assert!(check("{{{job}}").unwrap_err().contains("`}}}`"));
    }
}
