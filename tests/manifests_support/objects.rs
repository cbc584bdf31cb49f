//! Small helpers over objects of Kubernetes as they are in JSON.

use std::collections::BTreeMap;

use serde_json::Value;

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("nameless")
}

pub fn list<'o>(of: &'o Value, key: &str) -> &'o [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

pub fn text(of: &Value) -> &str {
    of.as_str().unwrap_or_default()
}

pub fn of_kind<'o>(objects: &'o [Value], kind: &str) -> impl Iterator<Item = &'o Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

pub fn find<'o>(objects: &'o [Value], kind: &str, named: &str) -> Option<&'o Value> {
    of_kind(objects, kind).find(|object| name(object) == named)
}

pub fn labels(of: &Value) -> BTreeMap<String, String> {
    let all = of.as_object().into_iter().flatten();
    all.map(|(key, value)| (key.clone(), text(value).to_owned())).collect()
}

/// Whether a selector by labels, not an empty one, takes what has these.
pub fn selects(selector: &Value, labelled: &Value) -> bool {
    let (wanted, there) = (labels(selector), labels(labelled));
    !wanted.is_empty() && wanted.iter().all(|(key, value)| there.get(key) == Some(value))
}

/// A quantity such as `100m` or `64Mi`, in whole units.
pub fn quantity(written: &Value) -> Option<f64> {
    let written = written.as_str().map_or_else(|| written.to_string(), str::to_owned);
    let end = written.find(|sign: char| !sign.is_ascii_digit() && sign != '.').unwrap_or(written.len());
    let factor = match &written[end..] {
        "m" => 0.001,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    written[..end].parse::<f64>().ok().map(|number| number * factor)
}

/// A size or a time of our own, such as `48MiB` or `25s`, in bytes or seconds.
pub fn measure(written: &str) -> Option<f64> {
    let end = written.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(written.len());
    let factor = match &written[end..] {
        "" | "s" | "B" => 1.0,
        "m" => 60.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    written[..end].parse::<f64>().ok().map(|number| number * factor)
}
