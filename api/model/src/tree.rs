//! Reading a JSON tree by pointers that are written in code.

use serde_json::Value;

/// The member at a JSON pointer: `/metadata/name`. The same as serde_json's, which copies every token twice to unescape it; what code
/// writes down has nothing to unescape, and an API write asks some fifteen times.
pub fn at<'a>(tree: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.contains('~') {
        return tree.pointer(pointer);
    }
    let Some(path) = pointer.strip_prefix('/') else { return pointer.is_empty().then_some(tree) };
    path.split('/').try_fold(tree, |value, token| match value {
        Value::Object(members) => members.get(token),
        Value::Array(items) => items.get(index(token)?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with(['0', '+']);
    token.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_found_as_serde_json_finds_them() {
        let tree = json!({"a": {"b": [1, {"c": null}], "": 2, "x/y": 3}, "": {"": 4}, "s": "t"});
        let of_lists = ["/a/b", "/a/b/0", "/a/b/1/c", "/a/b/2", "/a/b/01", "/a/b/+1", "/a/b/-"];
        for pointer in ["", "/", "//", "/a", "/a/", "/a/x~1y", "/s/t", "/none/x", "a"].into_iter().chain(of_lists) {
            assert_eq!(at(&tree, pointer), tree.pointer(pointer), "{pointer:?}");
        }
    }
}
