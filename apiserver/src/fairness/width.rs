//! How many seats a request takes: one, but more the more objects it tells.

use kontiki_model::Scope;

use super::limits::{OBJECTS_PER_SEAT, WIDTH_MAX};
use crate::{
    core::Core,
    route::{RequestInfo, ResourceInfo, Target},
};

/// Beyond this number of objects, more make no difference.
const OBJECTS_MAX: usize = (OBJECTS_PER_SEAT * WIDTH_MAX) as usize;

pub(crate) fn of(core: &Core, info: &RequestInfo, query: &[(String, String)]) -> u32 {
    let Target::Resource(resource) = &info.target else { return 1 };
    let given = |name: &str| {
        query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    let tells_all = match info.verb {
        "list" => true,
        "watch" => match given("sendInitialEvents") {
            Some(wanted) => wanted == "true",
            None => given("resourceVersion").is_none_or(|revision| revision == "0"),
        },
        _ => false,
    };
    if !tells_all || !resource.name.is_empty() {
        return 1;
    }
    let limit = given("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
    let selects = given("labelSelector").or(given("fieldSelector")).is_some();
    seats(stored(core, resource), limit, selects)
}

/// Objects that a selector leaves out are looked at all the same.
fn seats(stored: usize, limit: Option<usize>, selects: bool) -> u32 {
    let told = limit.unwrap_or(stored).min(stored);
    let weighed = if selects { told.max(stored / 2) } else { told };
    u32::try_from(weighed).unwrap_or(u32::MAX).div_ceil(OBJECTS_PER_SEAT).clamp(1, WIDTH_MAX)
}

fn stored(core: &Core, resource: &ResourceInfo) -> usize {
    let kinds = core.kinds();
    let Some(kind) = kinds.by_resource(&resource.group, &resource.version, &resource.resource) else { return 0 };
    let namespace = Some(resource.namespace.clone()).filter(|namespace| !namespace.is_empty());
    core.log.count(&Scope { resource: kind.storage_resource(), namespace }, OBJECTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_wide_as_what_they_tell() {
        let table = [
            (0, None, false, 1),
            (100, None, false, 1),
            (101, None, false, 2),
            (1000, None, false, 10),
            (1_000_000, None, false, 10),
            (1_000_000, Some(500), false, 5),
            (300, Some(500), false, 3),
            (1000, Some(100), true, 5),
            (1000, None, true, 10),
        ];
        for (stored, limit, selects, expected) in table {
            assert_eq!(seats(stored, limit, selects), expected, "{stored} {limit:?} {selects}");
        }
    }
}
