//! What one version of something says otherwise than another, place by place.
//!
//! It compares what is shown, not what is stored: both sides are JSON, and a place is a JSON
//! pointer into them. Rows of a list are compared by their place.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One place that says something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where: `/ends_at`, `/policy/2/disposition`.
    pub pointer: String,
    /// What stood there; absent where nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What stands there now; absent where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// Every place in which `to` says something else than `from`, in order. Nothing and `null` are the
/// same.
#[must_use]
pub fn between(from: &Value, to: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut String::new(), from, to, &mut found);
    found
}

fn compare(pointer: &mut String, from: &Value, to: &Value, found: &mut Vec<Difference>) {
    match (from, to) {
        (Value::Object(old), Value::Object(new)) => {
            let only_new = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(only_new) {
                let of = |side: &'_ serde_json::Map<String, Value>| side.get(name).cloned();
                let (a, b) = (of(old).unwrap_or_default(), of(new).unwrap_or_default());
                let name = name.replace('~', "~0").replace('/', "~1");
                below(pointer, &name, &a, &b, found);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for place in 0..old.len().max(new.len()) {
                let of = |side: &[Value]| side.get(place).cloned().unwrap_or_default();
                below(pointer, &place.to_string(), &of(old), &of(new), found);
            }
        }
        _ if from == to => {}
        _ => {
            let some = |value: &Value| Some(value.clone()).filter(|value| !value.is_null());
            let (from, to) = (some(from), some(to));
            found.push(Difference { pointer: pointer.clone(), from, to });
        }
    }
}

fn below(pointer: &mut String, name: &str, from: &Value, to: &Value, found: &mut Vec<Difference>) {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(name);
    compare(pointer, from, to, found);
    pointer.truncate(length);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(from: Value, to: Value) -> Vec<String> {
        let side = |value: Option<Value>| value.map_or("-".to_owned(), |v| v.to_string());
        between(&from, &to)
            .into_iter()
            .map(|d| format!("{} {} {}", d.pointer, side(d.from), side(d.to)))
            .collect()
    }

    #[test]
    fn every_place_that_says_something_else_is_named_once_and_no_other() {
        assert_eq!(lines(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 2}]})), [""; 0]);
        let from = json!({"a": 1, "rows": [{"x": 1}, {"x": 2}], "gone": true, "none": null});
        let to = json!({"a": 2, "rows": [{"x": 1, "y": 3}], "new": {"p/q": 1}});
        assert_eq!(
            lines(from, to),
            [
                "/a 1 2",
                "/gone true -",
                "/rows/0/y - 3",
                r#"/rows/1 {"x":2} -"#,
                r#"/new - {"p/q":1}"#,
            ]
        );
        assert_eq!(lines(json!({"p/q": {"~": 1}}), json!({"p/q": {"~": 2}})), ["/p~1q/~0 1 2"]);
    }
}
